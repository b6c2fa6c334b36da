import { requireNumber } from "@plinth/kernel";
import { RegistryError } from "./errors.ts";
import type { Instance, InstanceFilter } from "./registry.ts";

/** Takes the instances that a filter means, in the order given. */
export type Selection = (instances: readonly Instance[]) => readonly Instance[];

/**
 * The selection that a filter describes.
 * @throws {@link RegistryError} `ERR_REGISTRY_FILTER`, {@link OptionError} `ERR_OPTION_RANGE`, naming the field.
 */
export function toSelection(filter: InstanceFilter): Selection {
  const { version, zone, preferZone, tags = [], metadata = {}, protocol } = filter;
  const hasVersion = version === undefined ? undefined : versionTest(version);
  const pairs = Object.entries(metadata);
  const accepts = (instance: Instance): boolean =>
    (hasVersion === undefined || hasVersion(instance.version)) &&
    (zone === undefined || instance.zone === zone) &&
    (protocol === undefined || instance.ports[protocol] !== undefined) &&
    tags.every((tag) => instance.tags.includes(tag)) &&
    pairs.every(([key, value]) => Object.hasOwn(instance.metadata, key) && instance.metadata[key] === value);
  const prefer = preferZone === undefined ? undefined : zoneSelection(preferZone);
  return (instances) => {
    const accepted = instances.filter(accepts);
    return prefer ? prefer(accepted) : accepted;
  };
}

/** Filters that mean the same have the same key. Made at each lookup: each text stands behind its length, which costs less than JSON. */
export function keyOf({ version, zone, preferZone, tags, metadata, protocol }: InstanceFilter): string {
  const near = typeof preferZone === "string" ? { zone: preferZone } : preferZone;
  let key = `${sized(version)}${sized(zone)}${sized(protocol)}${sized(near?.zone)}`;
  if (near) key += `${near.atLeast ?? 1}/${near.atLeastRatio ?? 0}`;
  if (tags) for (const tag of tags.length < 2 ? tags : [...new Set(tags)].toSorted()) key += `#${sized(tag)}`;
  if (!metadata) return key;
  const names = Object.keys(metadata);
  for (const name of names.length < 2 ? names : names.toSorted()) key += `=${sized(name)}${sized(metadata[name])}`;
  return key;
}

function sized(text: string | undefined): string {
  return text === undefined ? "-" : `${text.length}:${text}`;
}

/** True for a filter that takes everything. */
export function isEmptyFilter({ version, zone, preferZone, tags, metadata, protocol }: InstanceFilter): boolean {
  return (
    version === undefined &&
    zone === undefined &&
    preferZone === undefined &&
    protocol === undefined &&
    (tags === undefined || tags.length === 0) &&
    (metadata === undefined || isEmpty(metadata))
  );
}

function isEmpty(record: object): boolean {
  for (const name in record) if (Object.hasOwn(record, name)) return false;
  return true;
}

function versionTest(wanted: string): (version: string | undefined) => boolean {
  const star = wanted.indexOf("*");
  if (wanted === "" || (star !== -1 && star !== wanted.length - 1)) {
    throw new RegistryError(
      "ERR_REGISTRY_FILTER",
      "invalid_argument",
      `version of a filter must be a version, or the beginning of one and then "*", such as "2.*", not ${JSON.stringify(wanted).slice(0, 100)}`,
    );
  }
  if (star === -1) return (version) => version === wanted;
  const beginning = wanted.slice(0, -1);
  return (version) => version !== undefined && version.startsWith(beginning);
}

function zoneSelection(preferred: NonNullable<InstanceFilter["preferZone"]>): Selection {
  const { zone, atLeast = 1, atLeastRatio = 0 } = typeof preferred === "string" ? { zone: preferred } : preferred;
  requireNumber("preferZone.atLeast", atLeast, { min: 1 });
  requireNumber("preferZone.atLeastRatio", atLeastRatio, { min: 0, max: 1 });
  return (instances) => {
    const near = instances.filter((instance) => instance.zone === zone);
    return near.length >= atLeast && near.length >= atLeastRatio * instances.length ? near : instances;
  };
}
