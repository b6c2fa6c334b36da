import { request } from "node:http";
import { Duplex } from "node:stream";

/** What node:http makes of a reply. */
export interface NodeReply {
  readonly status: number;
  readonly headers: readonly string[];
  readonly body: string;
}

/** Has the client of node:http read bytes and then the end of the connection. @returns Undefined where it refuses them, or misses some. */
export async function readByNode(bytes: Buffer, method: string): Promise<NodeReply | undefined> {
  const { promise, resolve } = Promise.withResolvers<NodeReply | undefined>();
  const socket = new Duplex({
    read: () => undefined,
    write: (_chunk, _encoding, done) => done(),
  });
  const asked = request({ method, host: "a", setDefaultHeaders: false, createConnection: () => socket });
  asked.on("error", () => resolve(undefined));
  asked.on("close", () => setImmediate(() => resolve(undefined))); // what came whole is told by then
  asked.on("response", (response) => {
    const body: Buffer[] = [];
    response.on("data", (chunk: Buffer) => body.push(chunk));
    response.on("error", () => resolve(undefined));
    response.on("end", () => {
      const headers = response.rawHeaders.map((text, at) => (at % 2 === 0 ? text.toLowerCase() : text));
      const told = { status: response.statusCode ?? 0, headers, body: Buffer.concat(body).toString("latin1") };
      resolve(response.complete ? told : undefined);
    });
  });
  asked.end();
  socket.push(bytes);
  socket.push(null);
  const reply = await promise;
  socket.destroy();
  return reply;
}
