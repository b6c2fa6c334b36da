import { OptionError } from "@plinth/kernel";
import { toSelection } from "./filter.ts";
import type { Instance } from "./registry.ts";

/** What one version gets of the traffic, and who serves it. */
export interface VersionShare {
  /** As it was given: exact, or with `*` at the end. */
  readonly version: string;
  /** 0 to 1; those of all shares together are 1. */
  readonly ratio: number;
  /** At least one. */
  readonly instances: readonly Instance[];
}

/**
 * Shares traffic between versions, as for a canary: once for each revision of a set, then {@link pickVersion} for each request.
 *
 * @param shares - Parts by version, exact or with `*` at the end, such as `{ "2.*": 5, "1.*": 95 }`; each 0 or more. Name the canary first:
 *   then whoever was sent to it is so still when its part grows.
 * @returns Only versions that have instances and a part above 0; the others' part goes to them, as the parts are to each other. None: empty.
 * @throws {@link OptionError} `ERR_OPTION_RANGE`, {@link RegistryError} `ERR_REGISTRY_FILTER`, naming the version.
 */
export function splitByVersion(
  instances: readonly Instance[],
  shares: Readonly<Record<string, number>>,
): readonly VersionShare[] {
  const parts = Object.entries(shares).flatMap(([version, part]) => {
    if (!Number.isFinite(part) || part < 0) {
      throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", `shares.${version} must be 0 or more, not ${part}`);
    }
    const own = toSelection({ version })(instances);
    return part > 0 && own.length > 0 ? [{ version, part, instances: own }] : [];
  });
  const whole = parts.reduce((sum, { part }) => sum + part, 0);
  return parts.map(({ version, part, instances: own }) => ({ version, ratio: part / whole, instances: own }));
}

/**
 * The instances for one request.
 *
 * @param by - A key, such as a user's id, that is sent to the same version as long as the shares are the same; or a number in [0, 1).
 * @returns Undefined when no share is left.
 * @example pickVersion(shares, userId) ?? set.instances
 */
export function pickVersion(shares: readonly VersionShare[], by: string | number): readonly Instance[] | undefined {
  let left = typeof by === "number" ? by : positionOf(by);
  for (const { ratio, instances } of shares) {
    left -= ratio;
    if (left < 0) return instances;
  }
  return shares.at(-1)?.instances; // what rounding has left over
}

/** FNV-1a, then the last steps of MurmurHash3, so that keys that differ in their last digit lie far apart. */
function positionOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}
