import { RegistryError } from "../errors.ts";
import { formatAuthority } from "../instance.ts";
import type { Instance, RegisterOptions } from "../registry.ts";
import type { CheckDefinition } from "./client.ts";

/** How Consul learns that a process is gone, beside its heartbeats. */
export type CheckKind = "ttl" | "http" | "tcp" | "grpc";

export interface ProbeOptions {
  readonly check: CheckKind;
  readonly checkIntervalMs: number;
}

type Asked = Pick<RegisterOptions, "readyPath" | "tls">;

const slowestAnswerMs = 5_000; // a busy process is not a dead one; a dead one refuses at once

/**
 * The check that the agent makes itself; undefined for `ttl`, where heartbeats are all. One of http or grpc names the instance that it
 * means, where that can tell: so it fails when somebody else has come to the address.
 *
 * @throws {@link RegistryError} `ERR_REGISTRY_CHECK` when the instance has nothing to ask.
 */
export function probeOf(
  instance: Instance,
  asked: Asked,
  { check, checkIntervalMs }: ProbeOptions,
): CheckDefinition | undefined {
  if (check === "ttl") return undefined;
  return {
    CheckID: `${instance.id}:probe`,
    Status: "passing",
    Interval: `${checkIntervalMs}ms`,
    Timeout: `${Math.max(slowestAnswerMs, checkIntervalMs)}ms`,
    ...probes[check](instance, asked),
  };
}

type Probe = (instance: Instance, asked: Asked) => Omit<CheckDefinition, "CheckID" | "Status">;

const probes: Readonly<Record<Exclude<CheckKind, "ttl">, Probe>> = {
  tcp: ({ host, ports }) => ({
    Name: "TCP connect",
    TCP: formatAuthority(host, ports.http ?? ports.grpc ?? 0),
  }),
  http({ id, host, ports, identity }, { readyPath, tls }) {
    if (ports.http === undefined || readyPath === undefined) {
      throw checkError(
        `registry.check is http, but ${id} has no http port with a readiness path; use the check grpc, tcp or ttl`,
      );
    }
    const isTls = tls?.includes("http") === true;
    return {
      Name: `HEAD ${readyPath}`,
      HTTP: `${isTls ? "https" : "http"}://${formatAuthority(host, ports.http)}${readyPath}`,
      // A body would be part of the check's text, and one that changes is written through the whole cluster and wakes all watches.
      Method: "HEAD",
      ...(identity === undefined ? {} : { Header: { "plinth-instance": [identity] } }),
      ...(isTls ? skipVerify : {}),
    };
  },
  grpc({ id, host, ports, identity }, { tls }) {
    if (ports.grpc === undefined) {
      throw checkError(`registry.check is grpc, but ${id} has no grpc port; use the check http, tcp or ttl`);
    }
    const authority = formatAuthority(host, ports.grpc);
    return {
      Name: "grpc.health.v1",
      GRPC: identity === undefined ? authority : `${authority}/plinth.instance/${identity}`,
      ...(tls?.includes("grpc") === true ? { GRPCUseTLS: true, ...skipVerify } : {}),
    };
  },
};

/** A certificate names the service, and the agent dials an address: that it is the right one, the instance's id says. */
const skipVerify = { TLSSkipVerify: true } as const;

function checkError(message: string): RegistryError {
  return new RegistryError("ERR_REGISTRY_CHECK", "failed_precondition", message);
}
