import { findServer, ServerError, type Server } from "../../scripts/servers/index.ts";
import { BenchError } from "../harness/errors.ts";

/** A server of another project, ready to be started. */
export type PeerBinary = Server;

/**
 * Finds a peer: `NGINX_BIN`, `HAPROXY_BIN` or `CADDY_BIN`, else PATH, else the distribution's package.
 *
 * @throws {@link BenchError} `ERR_BENCH_PEER_MISSING` saying how to get it.
 */
export async function findPeer(name: "nginx" | "haproxy" | "caddy"): Promise<PeerBinary> {
  try {
    return await findServer(name);
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    throw new BenchError("ERR_BENCH_PEER_MISSING", error.message, { cause: error });
  }
}
