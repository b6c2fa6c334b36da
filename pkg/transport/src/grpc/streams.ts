import type { Http2Server, IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import type { Server } from "@grpc/grpc-js";
import { TransportError } from "../errors.ts";
import type { Connection } from "./connections.ts";

const unsupportedMediaType = Object.freeze({ ":status": 415 });

export interface StreamOwner {
  /** Told of each new connection, before its first stream. */
  readonly admit: (session: ServerHttp2Session) => Connection;
  /** Given each stream that is a call; whatever else comes is answered here. */
  readonly take: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, connection: Connection) => void;
}

/**
 * Takes the streams of all connections from the gRPC library, which goes on to care for the connections: their age, pings and end.
 *
 * @throws {@link TransportError} `ERR_LISTEN_LIBRARY` where the library keeps them otherwise than the version that this package asks for.
 */
export function takeStreams(server: Server, { admit, take }: StreamOwner): void {
  const table: unknown = Reflect.get(server, "http2Servers");
  const onOpened: unknown = Reflect.get(server, "onStreamOpened");
  const servers = table instanceof Map ? [...table.keys()].filter(isHttp2Server) : [];
  if (servers.length === 0 || typeof onOpened !== "function") {
    const text =
      "grpc-js is another than this package asks for, and does not hand over its connections; install that version";
    throw new TransportError("ERR_LISTEN_LIBRARY", "failed_precondition", text);
  }
  for (const each of servers) {
    each.removeAllListeners("stream");
    each.on("session", (session) => {
      const connection = admit(session);
      session.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
        stream.on("error", ignore);
        if (stream.destroyed) {
          connection.ended(stream.rstCode);
          return;
        }
        Reflect.apply(onOpened, server, [stream]); // a connection with calls is not idle
        if (headers["content-type"]?.startsWith("application/grpc") === true) take(stream, headers, connection);
        else refuse(stream, connection);
      });
    });
  }
}

function refuse(stream: ServerHttp2Stream, connection: Connection): void {
  stream.once("close", () => connection.ended(stream.rstCode));
  stream.respond(unsupportedMediaType, { endStream: true });
}

/** Each comes with a `close`, which is what a call hears of. */
function ignore(): void {}

function isHttp2Server(value: unknown): value is Http2Server {
  return typeof value === "object" && value !== null && "setTimeout" in value && "removeAllListeners" in value;
}
