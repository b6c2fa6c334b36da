import { requireWhole } from "../errors/option-error.ts";
import type { HealthCheck } from "./check.ts";

export interface DiskSpaceCheckOptions extends Partial<Omit<HealthCheck, "run">> {
  /** A file or directory on the disk. It stands in the log and in verbose answers alone. */
  readonly path: string;
  /** What must be free for processes that are not root's, in bytes, 1 or more. */
  readonly minFreeBytes: number;
}

/**
 * A check for apps that write files. It is named `disk-space` and not critical unless told otherwise; a disk that is full
 * usually ends writes, and no reads.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` when `minFreeBytes` is out of range.
 * @example provider({ provides: healthChecks, create: () => diskSpaceCheck({ path: "/data", minFreeBytes: 2 ** 30 }) })
 */
export function diskSpaceCheck({ path, minFreeBytes, ...rest }: DiskSpaceCheckOptions): HealthCheck {
  requireWhole("minFreeBytes", minFreeBytes, { min: 1 });
  return {
    name: "disk-space",
    critical: false,
    ...rest,
    async run() {
      const { statfs } = await import("node:fs/promises"); // which most services do not need
      const { bavail, bsize } = await statfs(path);
      const freeBytes = bavail * bsize;
      if (freeBytes < minFreeBytes)
        throw new Error(`${freeBytes} bytes are free at ${path}, fewer than ${minFreeBytes}`);
    },
  };
}
