import type { Server } from "node:net";
import { resolve } from "node:path";

/** Where a server listens, the same in the primary and in its workers: `127.0.0.1:8080`, or a path; undefined when it does not. */
export function placeOf(server: Server): string | undefined {
  const address = server.address();
  if (address === null) return undefined;
  return typeof address === "string" ? resolve(address) : `${address.address}:${address.port}`;
}
