import { pipeline, type Readable } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { compressBytes, compressStream, negotiate } from "./content-coding.ts";
import { varyWith } from "./vary.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /**
     * False leaves replies of this route as they are: where one holds a secret beside what the caller has sent, its length tells
     * of the secret (BREACH). Default true, which counts only with the setting `compression.replies`.
     */
    readonly compress?: boolean | undefined;
  }
}

/** Settings of the layer `compression`. */
export const compressionSettings = {
  compression: z
    .strictObject({
      replies: z.boolean().default(false).meta({
        description:
          "Compress replies by br, zstd or gzip for callers that take it. Off: between services it costs more than it saves, what faces browsers mostly does it itself, and it can tell of secrets in a reply by its length (BREACH).",
      }),
      minBytes: z.int().min(0).default(1_024).meta({
        description: "Replies smaller than this are left as they are; those of unknown length are compressed.",
      }),
      requests: z.boolean().default(false).meta({
        description: "Take request bodies compressed by gzip, br or zstd. Otherwise they are answered with 415.",
      }),
      maxInflateRatio: z.int().min(1).max(1_000).default(100).meta({
        description: "How many times its own size a request body may become; it is bounded by `maxBodyBytes` too.",
      }),
    })
    .prefault({}),
};

export type CompressionSettings = z.infer<typeof compressionSettings.compression>;

/** The layer `compression` for replies: after all hooks of the route, so that they see what it has sent. */
export function compressReplies(
  app: Pick<FastifyInstance, "addHook">,
  { replies, minBytes }: CompressionSettings,
): void {
  if (!replies) return;
  app.addHook("onRoute", (route) => {
    if (route.config?.compress === false || route.config?.origin === "rpc") return; // RPC has codings of its own
    route.onSend = [...toList(route.onSend), (request, reply, payload) => compress(request, reply, payload, minBytes)];
  });
}

function toList<T>(given: T | T[] | undefined): T[] {
  if (given === undefined) return [];
  return Array.isArray(given) ? given : [given];
}

async function compress(
  request: FastifyRequest,
  reply: FastifyReply,
  payload: unknown,
  minBytes: number,
): Promise<unknown> {
  if (!isCompressible(reply)) return payload;
  const bytes = bytesOf(payload);
  const isHead = request.method === "HEAD";
  if (bytes === undefined && !isStream(payload) && !isHead) return payload;
  const length = bytes?.byteLength ?? (isHead ? lengthOf(reply) : undefined);
  if (length !== undefined && length < minBytes) return payload;
  // Also where it is left as it is: a cache must not give the one to who can read only the other.
  reply.header("vary", varyWith(reply.getHeader("vary"), "accept-encoding"));
  const { "accept-encoding": accepted } = request.headers;
  const coding = negotiate(Array.isArray(accepted) ? accepted.join(",") : accepted);
  if (isHead && coding !== undefined) reply.removeHeader("content-length"); // a GET would have another
  if (coding === undefined || isHead) return payload;
  const compressed = bytes === undefined ? compressStream(coding) : await compressBytes(coding, bytes);
  reply.header("content-encoding", coding);
  weakenTag(reply);
  if (compressed instanceof Uint8Array) {
    reply.header("content-length", compressed.byteLength);
    return compressed;
  }
  reply.removeHeader("content-length");
  // Whichever of the two fails or is given up takes the other with it; fastify hears of it from what it sends.
  if (isStream(payload)) pipeline(payload, compressed, () => {});
  return compressed;
}

/** Types that become smaller: text in any form. Pictures, films and archives are compressed already. */
const compressibleType =
  /^(?:text\/|application\/(?:json|javascript|xml|graphql|wasm|x-ndjson|manifest|[\w.+-]+\+(?:json|xml|text)\b)|image\/(?:svg\+xml|bmp)|font\/(?:ttf|otf))/i;

function isCompressible(reply: FastifyReply): boolean {
  const { statusCode } = reply;
  if (statusCode < 200 || statusCode === 204 || statusCode === 206 || statusCode === 304) return false;
  for (const name of ofTheVeryBytes) if (reply.hasHeader(name)) return false;
  const { "content-type": type, "cache-control": caching } = reply.getHeaders();
  if (typeof caching === "string" && /\bno-transform\b/i.test(caching)) return false;
  return typeof type === "string" && compressibleType.test(type);
}

/** Where one of these is, the reply's bytes are spoken of as they are. */
const ofTheVeryBytes = ["content-encoding", "content-range", "content-digest", "content-md5"];

function bytesOf(payload: unknown): Uint8Array | undefined {
  if (typeof payload === "string") return Buffer.from(payload);
  return payload instanceof Uint8Array ? payload : undefined;
}

/** What a HEAD says of the body that it has not. */
function lengthOf(reply: FastifyReply): number | undefined {
  const length = reply.getHeader("content-length");
  return length === undefined ? undefined : Number(length);
}

function isStream(payload: unknown): payload is Readable {
  return typeof payload === "object" && payload !== null && "pipe" in payload && typeof payload.pipe === "function";
}

/** The bytes are others than those that a strong tag stands for. */
function weakenTag(reply: FastifyReply): void {
  const tag = reply.getHeader("etag");
  if (typeof tag === "string" && tag.startsWith('"')) reply.header("etag", `W/${tag}`);
}
