import { once } from "node:events";
import { createServer, type Server } from "node:net";

const given = new Set<number>();

/**
 * A TCP port of 127.0.0.1 that was free a moment ago, never the same twice in a process.
 *
 * Prefer port 0 where the server can tell its port afterwards: then the system chooses and takes it in one step. This one is
 * free again until the server listens, and another process may take it meanwhile. It is for what must know the port before,
 * such as a config file, or a test that nothing listens there.
 *
 * @throws the system's error when there is no free port.
 */
export async function freePort(): Promise<number> {
  // Held until the end of the search, so that the system names another one each time.
  const held: Server[] = [];
  try {
    for (;;) {
      const server = createServer();
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      held.push(server);
      const port = portOf(server);
      if (given.has(port)) continue;
      given.add(port);
      return port;
    }
  } finally {
    await Promise.all(held.map(close));
  }
}

function portOf(server: Server): number {
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error(`a listening server has no port: ${address}`);
  return address.port;
}

function close(server: Server): Promise<void> {
  return new Promise((resolve, reject) => void server.close((error) => (error ? reject(error) : resolve())));
}
