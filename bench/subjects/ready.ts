// How a subject program tells the harness that it listens, and how it ends.
import { once } from "node:events";
import type { Server } from "node:http";

/** Listens on a free port of 127.0.0.1, prints `READY <port>`, and closes on SIGTERM. */
export async function serve(server: Server): Promise<void> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError(`no port in ${String(address)}`);
  tellReady(address.port);
  await terminated();
  server.close();
  server.closeAllConnections();
}

export function tellReady(port: number): void {
  process.stdout.write(`READY ${port}\n`);
}

/** Resolves at SIGTERM. */
export async function terminated(): Promise<void> {
  await once(process, "SIGTERM");
}

/** What the harness passed in the environment. */
export function required(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === "") {
    throw new TypeError(`${name} is not set: this program is started by the bench`);
  }
  return value;
}
