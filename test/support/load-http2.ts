// Load over HTTP/2, in the two ways of clients: one request at a time on each connection, and many on one. Each loop ends when the
// server cannot be reached.
import { connect } from "node:http2";
import { buildConnector, errors, H2CClient, Pool } from "undici";
import { asRecord } from "./json.ts";

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
  /** When all loops have ended. */
  readonly ended: Promise<Http2LoadReport>;
}

export interface Http2LoadReport {
  /** Requests that failed though the server may have taken them, and why. */
  readonly failures: readonly string[];
  /**
   * Requests of which the server has said that it did not take them, by the number in its GOAWAY or REFUSED_STREAM, so that they may
   * be sent again (RFC 9113, 6.8 and 8.7). `shared` sends each again once by itself: counted is what was refused twice.
   */
  readonly refused: number;
  /**
   * Requests on new connections that ended before a frame of the server came: as `unaccepted` of `load.ts`. They include those
   * that sent nothing for as long as a server that stops waits for a first request.
   */
  readonly unaccepted: number;
}

type Ask = () => Promise<void>;

class Refused extends Error {}
class Unaccepted extends Error {}

export function startHttp2Load({ url, path, loops, way, ca }: Http2LoadOptions): Http2Load {
  let replies = 0;
  let refused = 0;
  let unaccepted = 0;
  const failures: string[] = [];
  const loop = async (ask: Ask): Promise<void> => {
    for (;;) {
      try {
        await ask();
        replies++;
      } catch (error) {
        if (String(error).includes("ECONNREFUSED")) return;
        if (error instanceof Refused) refused++;
        else if (error instanceof Unaccepted) unaccepted++;
        else failures.push(String(error));
      }
    }
  };
  const asks =
    way === "shared" ? shared(url, path, ca, loops) : Array.from({ length: loops }, () => sequential(url, path, ca));
  const ended = Promise.all(asks.map(loop)).then(() => ({ failures, refused, unaccepted }));
  return { replies: () => replies, ended };
}

function sequential(url: string, path: string, ca: string | undefined): Ask {
  let session: ReturnType<typeof connect> | undefined;
  let isSpoken = false;
  let lastTaken: number | undefined;
  return async () => {
    if (session === undefined || session.closed || session.destroyed) {
      const made = Promise.withResolvers<void>();
      session = connect(url, ca === undefined ? {} : { ca });
      isSpoken = false;
      lastTaken = undefined;
      session.once("connect", () => made.resolve());
      session.once("remoteSettings", () => (isSpoken = true));
      session.on("goaway", (code: number, last: number) => {
        if (code === 0) lastTaken = last;
      });
      session.on("error", (error: Error & { code?: string }) =>
        made.reject(error.code === "ECONNRESET" ? new Unaccepted() : error),
      );
      await made.promise;
    }
    const stream = session.request({ ":path": path });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let status: number | undefined;
    let failure: Error | undefined;
    stream.once("response", (headers) => (status = headers[":status"]));
    stream.once("end", () => {
      if (status === 200) resolve();
    });
    stream.once("error", (error) => (failure = error));
    stream.once("close", () => {
      const { id = Infinity, rstCode } = stream;
      const isAbove = lastTaken !== undefined && id > lastTaken;
      if (status !== undefined) reject(failure ?? new Error(`status ${status}, or a reply that was cut short`));
      else if (isAbove || rstCode === refusedStream) reject(new Refused());
      else if (!isSpoken) reject(new Unaccepted());
      else reject(failure ?? new Error("closed without a reply"));
    });
    stream.resume();
    return promise;
  };
}

const refusedStream = 7;

function shared(url: string, path: string, ca: string | undefined, loops: number): readonly Ask[] {
  const unaccepted = new WeakSet<Error>();
  const dial = buildConnector({ allowH2: true, ...(ca !== undefined && { ca }) });
  const connector: buildConnector.connector = (options, callback) =>
    dial(options, (...[error, socket]) => {
      if (error !== null) {
        if (asRecord(error)["code"] === "ECONNRESET") unaccepted.add(error);
        callback(error, null);
        return;
      }
      socket.on("error", (fault: Error) => {
        if (socket.bytesRead === 0) unaccepted.add(fault);
      });
      callback(null, socket);
    });
  const client =
    ca === undefined
      ? new H2CClient(url, { pipelining: 100, maxConcurrentStreams: 100, connect: connector })
      : new Pool(url, { connections: 1, pipelining: 100, allowH2: true, connect: connector });
  const ask = async (): Promise<void> => {
    const { statusCode, body } = await client.request({ path, method: "GET" }).catch((error: unknown) => {
      throw reasonOf(error, unaccepted);
    });
    await body.text();
    if (statusCode !== 200) throw new Error(`status ${statusCode}`);
  };
  return Array.from({ length: loops }, () => ask);
}

function reasonOf(error: unknown, unaccepted: WeakSet<Error>): unknown {
  if (!(error instanceof Error)) return error;
  if (unaccepted.has(error)) return new Unaccepted();
  if (error instanceof errors.SocketError && error.socket?.bytesRead === 0) return new Unaccepted();
  // Which it says of those alone that are above the number in the GOAWAY.
  if (error instanceof errors.InformationalError && error.message.endsWith("frame received with code 0"))
    return new Refused();
  return error;
}
