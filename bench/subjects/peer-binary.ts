import { BenchError } from "../harness/errors.ts";
import { findOnPath } from "../harness/machine.ts";

/** A server of another project, ready to be started. */
export interface PeerBinary {
  readonly bin: string;
  readonly env: Readonly<Record<string, string>>;
}

/**
 * Finds a peer: `NGINX_BIN` or `HAPROXY_BIN`, else PATH.
 *
 * @throws {@link BenchError} `ERR_BENCH_PEER_MISSING` saying how to get it.
 */
export async function findPeer(name: "nginx" | "haproxy"): Promise<PeerBinary> {
  const variable = `${name.toUpperCase()}_BIN`;
  const bin = process.env[variable] ?? (await findOnPath(name));
  if (bin === undefined) {
    throw new BenchError(
      "ERR_BENCH_PEER_MISSING",
      `this bench needs ${name}, which is not on PATH: install it (Debian: apt-get install ${name}) or set ${variable}`,
    );
  }
  return { bin, env: {} };
}
