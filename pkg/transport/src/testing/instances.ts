import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { NewInstance, Registration, Registry } from "@plinth/registry";

/** A registered instance that answers over plain HTTP, whatever a server of ours would say. */
export interface TestInstance extends AsyncDisposable {
  readonly port: number;
  readonly server: Server;
  readonly registration: Registration;
  /** Requests that have come. */
  readonly hits: number;
  /** Connections that stand. */
  readonly sockets: ReadonlySet<Socket>;
  /** Ends its process as far as others can tell: its connections break, new ones are refused, its entry stays. */
  kill(): Promise<void>;
}

export async function startInstance(
  registry: Registry,
  id: string,
  listener: RequestListener = (_request, reply) => void reply.end(id),
  more: Partial<NewInstance> = {},
): Promise<TestInstance> {
  let hits = 0;
  const sockets = new Set<Socket>();
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, reply) => {
    hits++;
    listener(request, reply);
  });
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const port = portOf(server.address());
  const registration = await registry.register({
    service: "notes",
    id,
    host: "127.0.0.1",
    ports: { http: port },
    ...more,
  });
  const kill = async (): Promise<void> => {
    if (!server.listening) return;
    server.close();
    for (const socket of sockets) socket.destroy();
    await once(server, "close");
  };
  return {
    port,
    server,
    registration,
    sockets,
    kill,
    get hits() {
      return hits;
    },
    async [Symbol.asyncDispose]() {
      await registration.deregister();
      await kill();
    },
  };
}

function portOf(address: AddressInfo | string | null): number {
  return typeof address === "object" && address !== null ? address.port : 0;
}
