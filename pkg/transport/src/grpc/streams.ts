import type { Http2Server, IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { Server } from "@grpc/grpc-js";
import { TransportError } from "../errors.ts";

const unsupportedMediaType = Object.freeze({ ":status": 415 });

/**
 * Takes the streams of all connections from the gRPC library, which goes on to care for the connections: their age, pings and end.
 *
 * @param take - Given each stream that is a call; whatever else comes is answered here.
 * @returns The servers of HTTP/2 that the library has made for its connections.
 * @throws {@link TransportError} `ERR_LISTEN_LIBRARY` where the library keeps them otherwise than the version that this package asks for.
 */
export function takeStreams(
  server: Server,
  take: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
): Http2Server[] {
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
    each.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      stream.on("error", ignore);
      if (stream.destroyed) return;
      Reflect.apply(onOpened, server, [stream]); // a connection with calls is not idle
      if (headers["content-type"]?.startsWith("application/grpc") === true) take(stream, headers);
      else stream.respond(unsupportedMediaType, { endStream: true });
    });
  }
  return servers;
}

/** Each comes with a `close`, which is what a call hears of. */
function ignore(): void {}

function isHttp2Server(value: unknown): value is Http2Server {
  return typeof value === "object" && value !== null && "setTimeout" in value && "removeAllListeners" in value;
}
