import { connect } from "node:http2";
import { framed, MessageReader } from "../grpc/messages.ts";
import { z } from "zod";
import type { TestHttp } from "./http.ts";

/** One envelope of a stream of the Connect protocol. */
export interface Envelope {
  readonly flags: number;
  readonly text: string;
}

const endOf = z.strictObject({
  error: z
    .strictObject({
      code: z.string(),
      message: z.string(),
      details: z.array(z.strictObject({ type: z.string(), value: z.string() })),
    })
    .optional(),
  metadata: z.record(z.string(), z.array(z.string())).optional(),
});

/** What a server answers to a call that streams. */
export interface StreamedReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly messages: readonly Envelope[];
  /** What the last message says, parsed; undefined where none says how it ended. */
  readonly end: z.infer<typeof endOf> | undefined;
  /** Of a reply that is no stream. */
  readonly text: string;
}

export type StreamedError = NonNullable<z.infer<typeof endOf>["error"]>;

/** The envelope of a message in JSON. */
export function envelope(message: unknown, flags = 0): Buffer {
  return framed(Buffer.from(JSON.stringify(message)), flags);
}

export interface StreamedCall {
  readonly body: Buffer;
  /** Besides, or in the place of, `content-type: application/connect+json`. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** Calls a method over HTTP/1.1, and reads its reply to the end. */
export async function callStream(
  http: TestHttp,
  path: string,
  { body, headers }: StreamedCall,
): Promise<StreamedReply> {
  const response = await http.fetch(path, {
    method: "POST",
    headers: { "content-type": "application/connect+json", ...headers },
    body,
  });
  const bytes = Buffer.from(await response.arrayBuffer());
  return replyOf(response.status, Object.fromEntries(response.headers), bytes);
}

/** The same over HTTP/2. */
export async function callStream2(
  http: TestHttp,
  path: string,
  { body, headers }: StreamedCall,
): Promise<StreamedReply> {
  const session = connect(http.origin);
  try {
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/connect+json",
      ...headers,
    });
    const told = Promise.withResolvers<Record<string, string>>();
    stream.once("response", (head) =>
      told.resolve(Object.fromEntries(Object.entries(head).map(([name, value]) => [name, String(value)]))),
    );
    stream.once("error", told.reject);
    stream.end(body);
    const head = await told.promise;
    const chunks: Buffer[] = [];
    for await (const chunk of stream) if (Buffer.isBuffer(chunk)) chunks.push(chunk);
    return replyOf(Number(head[":status"]), head, Buffer.concat(chunks));
  } finally {
    session.close();
  }
}

function replyOf(status: number, headers: Record<string, string>, bytes: Buffer): StreamedReply {
  const isStream = headers["content-type"]?.startsWith("application/connect+") === true;
  const all: Envelope[] = [];
  if (isStream)
    new MessageReader(Infinity).push(bytes, ({ flags, bytes: message }) =>
      all.push({ flags, text: message.toString() }),
    );
  const last = all.at(-1);
  const end = last !== undefined && last.flags === 2 ? endOf.parse(JSON.parse(last.text)) : undefined;
  const messages = end === undefined ? all : all.slice(0, -1);
  return { status, headers, messages, end, text: isStream ? "" : bytes.toString() };
}
