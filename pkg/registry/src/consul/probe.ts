import { RegistryError } from "../errors.ts";
import { formatAuthority } from "../instance.ts";
import type { Instance, RegisterOptions } from "../registry.ts";
import type { CheckDefinition } from "./client.ts";

/** How Consul learns that a process is gone, beside its heartbeats. */
export type CheckKind = "ttl" | "http" | "tcp";

const slowestAnswerMs = 5_000; // a busy process is not a dead one; a dead one refuses at once

/**
 * The check that the agent makes itself; undefined for `ttl`, where heartbeats are all.
 * @throws {@link RegistryError} `ERR_REGISTRY_CHECK` when the instance has nothing to ask.
 */
export function probeOf(
  { id, host, ports }: Instance,
  readyPath: RegisterOptions["readyPath"],
  { check, checkIntervalMs }: { readonly check: CheckKind; readonly checkIntervalMs: number },
): CheckDefinition | undefined {
  const times = {
    CheckID: `${id}:probe`,
    Status: "passing",
    Interval: `${checkIntervalMs}ms`,
    Timeout: `${Math.max(slowestAnswerMs, checkIntervalMs)}ms`,
  } as const;
  if (check === "ttl") return undefined;
  if (check === "tcp") {
    return { ...times, Name: "TCP connect", TCP: formatAuthority(host, ports.http ?? ports.grpc ?? 0) };
  }
  if (ports.http === undefined || readyPath === undefined) {
    throw new RegistryError(
      "ERR_REGISTRY_CHECK",
      "failed_precondition",
      `registry.check is http, but ${id} has no http port with a readiness path; use the check tcp or ttl`,
    );
  }
  return { ...times, Name: `GET ${readyPath}`, HTTP: `http://${formatAuthority(host, ports.http)}${readyPath}` };
}
