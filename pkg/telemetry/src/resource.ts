import { readFile } from "node:fs/promises";
import { hostname } from "node:os";

/** What runs. */
export interface ServiceFacts {
  readonly name: string;
  readonly version: string;
  readonly instanceId: string;
}

/**
 * What a span's resource tells of the service, its process and where that runs.
 * @param given - Attributes that win, from the environment.
 * @see https://opentelemetry.io/docs/specs/semconv/resource/
 */
export async function describeResource(
  service: ServiceFacts,
  given: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, string | number>>> {
  const container = given["container.id"] === undefined ? await readContainerId() : undefined;
  return {
    "service.name": service.name,
    "service.version": service.version,
    "service.instance.id": service.instanceId,
    "host.name": hostname(),
    "process.pid": process.pid,
    "process.runtime.name": "nodejs",
    "process.runtime.version": process.versions.node,
    ...(container === undefined ? {} : { "container.id": container }),
    ...given,
  };
}

/** Where Linux tells of the container: the groups of cgroup v1; under v2 the mounts, of which the container's own files are one. */
async function readContainerId(): Promise<string | undefined> {
  const [groups, mounts] = await Promise.all(["/proc/self/cgroup", "/proc/self/mountinfo"].map(readIfThere));
  return containerIdIn(groups ?? "", mounts ?? "");
}

/**
 * The container's id in what Linux tells of it.
 * @param groups - Text of `/proc/self/cgroup`.
 * @param mounts - Text of `/proc/self/mountinfo`.
 */
export function containerIdIn(groups: string, mounts: string): string | undefined {
  const group = /(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?$/m.exec(groups);
  const mount =
    /\/(?:containers|sandboxes|overlay-containers)\/([0-9a-f]{64})\/(?:userdata\/)?(?:hostname|hosts|resolv\.conf)\b/.exec(
      mounts,
    );
  return group?.[1] ?? mount?.[1];
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch {
    return undefined; // no Linux
  }
}
