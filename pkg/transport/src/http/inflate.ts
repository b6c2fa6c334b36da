import { type Readable, Transform, type TransformCallback } from "node:stream";
import { messageOf } from "@plinth/kernel";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { TransportError } from "../errors.ts";
import type { CompressionSettings } from "./compression.ts";
import { type Coding, codings, inflateStream } from "./content-coding.ts";
import { HttpRefusal } from "./refusal.ts";

/** The layer `compression` for request bodies: they are inflated as they are read, after the auth layer, under limits. */
export function inflateRequests(app: Pick<FastifyInstance, "addHook">, settings: CompressionSettings): void {
  if (!settings.requests) return;
  app.addHook("preParsing", (request, _reply, payload, done) => {
    if (request.routeOptions.config?.origin === "rpc") {
      done(null, payload); // RPC has codings of its own
      return;
    }
    const coding = codingOf(request);
    if (coding instanceof HttpRefusal) {
      done(coding);
      return;
    }
    if (coding === undefined) {
      done(null, payload);
      return;
    }
    delete request.raw.headers["content-encoding"]; // what reads the body gets it without
    const maxBytes = request.routeOptions.bodyLimit;
    done(null, inflate(payload, coding, { maxBytes, maxRatio: settings.maxInflateRatio }));
  });
}

/** Undefined for a body as it is; a refusal for a coding that is not read here, and for several, one inside the other. */
function codingOf({ headers }: FastifyRequest): Coding | HttpRefusal | undefined {
  const named = headers["content-encoding"]?.trim().toLowerCase();
  if (named === undefined || named === "" || named === "identity") return undefined;
  const coding = codings.find((each) => each === (named === "x-gzip" ? "gzip" : named));
  if (coding !== undefined) return coding;
  const message = `the content-encoding of the body is not one of ${codings.join(", ")}`;
  const refusal = { code: "ERR_REQUEST_MEDIA_TYPE", httpStatus: 415, message } as const;
  return new HttpRefusal(refusal);
}

export interface InflateLimits {
  /** Largest body when inflated, in bytes. */
  readonly maxBytes: number;
  /** How many times its own size a body may become, once it is larger than {@link freeBytes}. */
  readonly maxRatio: number;
}

/** So much may come of however little: text that repeats itself becomes very small. */
export const freeBytes = 65_536;

/**
 * The body inflated. When it fails, the connection stays, so that the caller can be answered; and nothing more is inflated.
 * @returns A stream that fails with an {@link HttpRefusal} 413 past a limit, and with `ERR_REQUEST_BODY` for what is not of this coding.
 */
export function inflate(body: Readable, coding: Coding, limits: InflateLimits): Readable {
  const meter = new Meter(limits);
  const inflater = inflateStream(coding);
  body.on("data", (chunk: Buffer) => (meter.receivedEncodedLength += chunk.byteLength));
  body.once("error", (error) => meter.destroy(error));
  body.once("close", () => {
    if (!body.readableEnded) meter.destroy();
  });
  inflater.on("error", (cause) => meter.destroy(notOf(coding, cause)));
  meter.once("close", () => {
    body.unpipe(inflater);
    inflater.destroy();
  });
  body.pipe(inflater).pipe(meter);
  return meter;
}

/** Counts what comes out beside what went in. */
class Meter extends Transform {
  /** Read by fastify, which compares it with content-length. */
  receivedEncodedLength = 0;
  readonly #limits: InflateLimits;
  #bytes = 0;

  constructor(limits: InflateLimits) {
    super();
    this.#limits = limits;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    const { maxBytes, maxRatio } = this.#limits;
    this.#bytes += chunk.byteLength;
    if (this.#bytes > maxBytes) done(tooLarge("the request body, inflated, is larger than the limit"));
    else if (this.#bytes > freeBytes && this.#bytes > maxRatio * this.receivedEncodedLength)
      done(tooLarge("the request body inflates to more times its size than the limit"));
    else done(null, chunk);
  }
}

function tooLarge(message: string): HttpRefusal {
  const refusal = { code: "ERR_REQUEST_TOO_LARGE", httpStatus: 413, message } as const;
  return new HttpRefusal(refusal);
}

function notOf(coding: Coding, cause: Error): TransportError {
  const message = `the body is not what its content-encoding ${coding} says, or ends too early`;
  return new TransportError("ERR_REQUEST_BODY", "invalid_argument", message, { cause: messageOf(cause) });
}
