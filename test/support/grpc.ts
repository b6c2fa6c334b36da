// One unary gRPC call, made by hand on HTTP/2: what a caller in any language gets, byte by byte.
import { once } from "node:events";
import { type ClientHttp2Session, connect } from "node:http2";

export interface GrpcAnswer {
  readonly status: number;
  readonly message: string;
  /** Headers and trailers of the reply, by name. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The reply's message; empty when there is none. */
  readonly body: Buffer;
}

const limitMs = 10_000;

/** A connection for several calls. */
export interface GrpcConnection extends AsyncDisposable {
  /**
   * @param path - `/package.Service/Method`.
   * @param message - The request in protobuf's binary form.
   * @see https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
   */
  call(path: string, message: Uint8Array, metadata?: Readonly<Record<string, string>>): Promise<GrpcAnswer>;
}

/** @param address - `host:port`. */
export async function connectGrpc(address: string): Promise<GrpcConnection> {
  const session = connect(`http://${address}`);
  await once(session, "connect");
  return {
    call: (path, message, metadata = {}) => callOn(session, path, message, metadata),
    [Symbol.asyncDispose]: async () => session.close(),
  };
}

/** One call on a connection of its own. */
export async function callGrpc(
  address: string,
  path: string,
  message: Uint8Array,
  metadata: Readonly<Record<string, string>> = {},
): Promise<GrpcAnswer> {
  await using connection = await connectGrpc(address);
  return await connection.call(path, message, metadata);
}

async function callOn(
  session: ClientHttp2Session,
  path: string,
  message: Uint8Array,
  metadata: Readonly<Record<string, string>>,
): Promise<GrpcAnswer> {
  const stream = session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
    ...metadata,
  });
  stream.setTimeout(limitMs, () => stream.destroy(new Error(`no answer to ${path} within ${limitMs} ms`)));
  const received: Record<string, string> = {};
  const keep = (headers: object): void => {
    for (const [name, value] of Object.entries(headers)) received[name] = String(value);
  };
  stream.on("response", keep);
  stream.on("trailers", keep);
  stream.end(framed(message));
  const chunks: Buffer[] = [];
  for await (const chunk of stream) if (chunk instanceof Uint8Array) chunks.push(Buffer.from(chunk));
  const status = Number(received["grpc-status"] ?? Number.NaN);
  const text = decodeURIComponent(received["grpc-message"] ?? "");
  return { status, message: text, metadata: received, body: Buffer.concat(chunks).subarray(5) };
}

/** A protobuf message with one string, its field 1. */
export function messageWithText(text: string): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length > 127) throw new RangeError("text has more than 127 bytes, and the length is written in one");
  return Buffer.concat([Buffer.from([0x0a, bytes.length]), bytes]);
}

/** Not compressed, and its length. */
function framed(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}
