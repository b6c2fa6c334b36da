// Load over HTTP/2, in the two ways of clients: one request at a time on each connection, and many on one. Each loop ends when the
// server cannot be reached.
import { connect } from "node:http2";
import { H2CClient, Pool } from "undici";

export interface Http2LoadOptions {
  readonly url: string;
  readonly path: string;
  readonly loops: number;
  /** `sequential`: each loop has a connection of its own by node:http2, and sends nothing again. `shared`: undici, one connection for all. */
  readonly way: "sequential" | "shared";
  /** Whom the client trusts; with `https`. */
  readonly ca?: string;
}

export interface Http2Load {
  /** Replies with 200 so far. */
  replies(): number;
  /** All that failed but the last try of each loop, which found nobody listening; when all have ended. */
  readonly failures: Promise<readonly string[]>;
}

type Ask = () => Promise<void>;

export function startHttp2Load({ url, path, loops, way, ca }: Http2LoadOptions): Http2Load {
  let replies = 0;
  const failures: string[] = [];
  const loop = async (ask: Ask): Promise<void> => {
    for (;;) {
      try {
        await ask();
        replies++;
      } catch (error) {
        const text = String(error);
        if (text.includes("ECONNREFUSED")) return;
        // Made by the system and not accepted yet when the server stopped listening, as `unaccepted` of `load.ts`.
        if (!text.includes("unaccepted")) failures.push(text);
      }
    }
  };
  const asks =
    way === "shared" ? shared(url, path, ca, loops) : Array.from({ length: loops }, () => sequential(url, path, ca));
  return { replies: () => replies, failures: Promise.all(asks.map(loop)).then(() => failures) };
}

function sequential(url: string, path: string, ca: string | undefined): Ask {
  let session: ReturnType<typeof connect> | undefined;
  return async () => {
    if (session === undefined || session.closed || session.destroyed) {
      const made = Promise.withResolvers<void>();
      session = connect(url, ca === undefined ? {} : { ca });
      session.once("connect", () => made.resolve());
      session.on("error", (error: Error & { code?: string }) =>
        made.reject(error.code === "ECONNRESET" ? new Error("unaccepted") : error),
      );
      await made.promise;
    }
    const stream = session.request({ ":path": path });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let status: unknown;
    stream.once("response", (headers) => (status = headers[":status"]));
    stream.once("end", () => (status === 200 ? resolve() : reject(new Error(`status ${String(status)}`))));
    stream.once("error", reject);
    stream.once("close", () => reject(new Error("closed without a reply")));
    stream.resume();
    return promise;
  };
}

function shared(url: string, path: string, ca: string | undefined, loops: number): readonly Ask[] {
  const client =
    ca === undefined
      ? new H2CClient(url, { pipelining: 100, maxConcurrentStreams: 100 })
      : new Pool(url, { connections: 1, pipelining: 100, allowH2: true, connect: { ca } });
  const ask = async (): Promise<void> => {
    const { statusCode, body } = await client.request({ path, method: "GET" });
    await body.text();
    if (statusCode !== 200) throw new Error(`status ${statusCode}`);
  };
  return Array.from({ length: loops }, () => ask);
}
