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

/** Filters that mean the same have the same key. */
export function keyOf({ version, zone, preferZone, tags = [], metadata = {}, protocol }: InstanceFilter): string {
  const preference = typeof preferZone === "string" ? { zone: preferZone } : preferZone;
  return JSON.stringify([
    version ?? null,
    zone ?? null,
    preference ? [preference.zone, preference.atLeast ?? 1, preference.atLeastRatio ?? 0] : null,
    [...new Set(tags)].toSorted(),
    Object.entries(metadata).toSorted(([a], [b]) => (a < b ? -1 : 1)),
    protocol ?? null,
  ]);
}

/** True for a filter that takes everything. */
export function isEmptyFilter({ version, zone, preferZone, tags, metadata, protocol }: InstanceFilter): boolean {
  return (
    version === undefined &&
    zone === undefined &&
    preferZone === undefined &&
    protocol === undefined &&
    (tags === undefined || tags.length === 0) &&
    (metadata === undefined || Object.keys(metadata).length === 0)
  );
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
