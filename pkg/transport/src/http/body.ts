import type { IncomingMessage } from "node:http";
import { fastify, type FastifyRequest } from "fastify";
import { type BodyTaker, ServedRequest } from "./exchange.ts";

const { FST_ERR_CTP_BODY_TOO_LARGE, FST_ERR_CTP_INVALID_CONTENT_LENGTH } = fastify.errorCodes;

/**
 * Reads a whole body, with the limits and errors of fastify's own parsers. Most bodies come with their head: they are taken from the
 * parser of HTTP as they come, past the stream, whose events cost as much as all else that fastify does for a request.
 * @param payload - The request's stream, or what a preParsing hook has made of it.
 * @param done - Called once, with what is wrong or with the bytes; never, when the caller leaves and the stream has no error.
 */
export function readBody(
  request: FastifyRequest,
  payload: IncomingMessage,
  done: (error: Error | null, body?: Buffer) => void,
): void {
  const maxBytes = request.routeOptions.bodyLimit;
  const expectedBytes = Number(request.headers["content-length"]);
  if (expectedBytes > maxBytes) {
    done(new FST_ERR_CTP_BODY_TOO_LARGE());
    return;
  }
  const body = new Body(maxBytes, expectedBytes, done);
  if (!(payload instanceof ServedRequest && payload.divertBody(body))) listenTo(payload, body);
}

/** What a hook has made of it, what came while hooks were waited for, or what is of HTTP/2. */
function listenTo(payload: IncomingMessage, body: Body): void {
  const take = (chunk: Buffer | string): void => {
    body.take(typeof chunk === "string" ? Buffer.from(chunk) : chunk, encodedLengthOf(payload));
    if (body.isOver) stop();
  };
  const end = (): void => {
    stop();
    body.end(encodedLengthOf(payload));
  };
  const fail = (error: Error): void => {
    stop();
    body.fail(error);
  };
  const stop = (): void => void payload.off("data", take).off("end", end).off("error", fail);
  payload.on("data", take).on("end", end).on("error", fail);
  payload.resume();
}

/** How a stream that inflates tells how much it has read, 0 for any other. */
function encodedLengthOf(payload: object): number {
  return "receivedEncodedLength" in payload ? Number(payload.receivedEncodedLength) : 0;
}

class Body implements BodyTaker {
  isOver = false;
  readonly #maxBytes: number;
  /** What content-length says; NaN where it says nothing. */
  readonly #expectedBytes: number;
  readonly #done: (error: Error | null, body?: Buffer) => void;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(maxBytes: number, expectedBytes: number, done: (error: Error | null, body?: Buffer) => void) {
    this.#maxBytes = maxBytes;
    this.#expectedBytes = expectedBytes;
    this.#done = done;
  }

  take(chunk: Buffer, encodedBytes = 0): void {
    if (this.isOver) return; // what comes after a refusal is read and dropped
    this.#bytes += chunk.length;
    if (this.#bytes > this.#maxBytes || encodedBytes > this.#maxBytes) this.#refuse(new FST_ERR_CTP_BODY_TOO_LARGE());
    else this.#chunks.push(chunk);
  }

  end(encodedBytes = 0): void {
    if (this.isOver) return;
    if (!Number.isNaN(this.#expectedBytes) && (encodedBytes || this.#bytes) !== this.#expectedBytes) {
      this.#refuse(new FST_ERR_CTP_INVALID_CONTENT_LENGTH());
      return;
    }
    this.isOver = true;
    const only = this.#chunks.length === 1 ? this.#chunks[0] : undefined;
    // A message may keep parts of its bytes, which must not be a window on all that was read from the connection.
    const isAllThereIs = only !== undefined && only.byteLength === only.buffer.byteLength;
    this.#done(null, isAllThereIs ? only : Buffer.concat(this.#chunks, this.#bytes));
  }

  fail(error: Error): void {
    if (this.isOver) return;
    const isRefusal = "statusCode" in error && typeof error.statusCode === "number" && error.statusCode >= 400;
    if (!isRefusal) Reflect.set(error, "statusCode", 400); // as fastify does, for error handlers that look at it
    this.#refuse(error);
  }

  #refuse(error: Error): void {
    this.isOver = true;
    this.#done(error);
  }
}
