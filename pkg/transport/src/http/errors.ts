import { STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { AppError, type AppError as AnyAppError } from "@plinth/kernel";
import { type FieldFault, RequestError, TransportError } from "../errors.ts";
import { problemContentType, toProblem } from "../problem.ts";

/** An error as HTTP sees it: 405, 413 and the like have no canonical status of their own. */
export interface HttpFailure {
  readonly error: AnyAppError;
  readonly httpStatus?: number;
}

/** What fastify throws for requests that it refuses itself. */
interface FastifyFailure {
  readonly statusCode: number;
  readonly message: string;
  readonly validation?: readonly ValidationFault[];
  readonly validationContext?: string;
}

interface ValidationFault {
  readonly instancePath: string;
  readonly message?: string;
  readonly params?: Readonly<Record<string, unknown>>;
}

/** Turns anything a handler, a hook or fastify itself threw into what the caller gets. */
export function toHttpFailure(thrown: unknown): HttpFailure {
  if (AppError.is(thrown)) return { error: thrown };
  if (!isFastifyFailure(thrown)) return { error: AppError.from(thrown) };
  const { statusCode, validation, validationContext = "body" } = thrown;
  if (validation) return { error: new RequestError(validation.map((fault) => toFieldFault(fault, validationContext))) };
  switch (statusCode) {
    case 413:
      return {
        error: new TransportError(
          "ERR_REQUEST_TOO_LARGE",
          "resource_exhausted",
          "the request body is larger than the limit",
          { cause: thrown },
        ),
        httpStatus: 413,
      };
    case 415:
      return {
        error: new TransportError(
          "ERR_REQUEST_MEDIA_TYPE",
          "invalid_argument",
          "the media type of the body is not one this route reads; send application/json",
          { cause: thrown },
        ),
        httpStatus: 415,
      };
    case 414:
      return {
        error: new TransportError(
          "ERR_REQUEST_TOO_LARGE",
          "invalid_argument",
          "a path segment is longer than the limit",
          { cause: thrown },
        ),
        httpStatus: 414,
      };
    case 400:
      return {
        error: new TransportError(
          "ERR_REQUEST_BODY",
          "invalid_argument",
          "the request cannot be read: " + thrown.message,
          { cause: thrown },
        ),
      };
    default:
      return { error: AppError.from(thrown) };
  }
}

function isFastifyFailure(thrown: unknown): thrown is FastifyFailure {
  if (!(thrown instanceof Error) || !("statusCode" in thrown) || typeof thrown.statusCode !== "number") return false;
  const isOwn = "code" in thrown && typeof thrown.code === "string" && thrown.code.startsWith("FST_ERR_");
  return isOwn || "validation" in thrown || thrown instanceof SyntaxError;
}

function toFieldFault(
  { instancePath, message = "is not valid", params = {} }: ValidationFault,
  context: string,
): FieldFault {
  const base = context === "body" ? "" : `/${context === "querystring" ? "query" : context}`;
  const name = params.missingProperty ?? params.additionalProperty;
  return { pointer: `${base}${instancePath}${typeof name === "string" ? `/${name}` : ""}`, detail: message };
}

/** What a request gets that is no HTTP: the parser has refused it, so there is no response object to answer with. */
export function answerMalformed(error: Error & { readonly code?: unknown }, socket: Duplex): void {
  if (!socket.writable || error.code === "ECONNRESET") {
    socket.destroy();
    return;
  }
  const { failure, httpStatus } = malformed(error.code);
  const body = JSON.stringify(toProblem(failure, { httpStatus }));
  socket.end(
    `HTTP/1.1 ${httpStatus} ${STATUS_CODES[httpStatus]}\r\ncontent-type: ${problemContentType}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}

function malformed(code: unknown): { readonly failure: TransportError; readonly httpStatus: number } {
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return {
        failure: new TransportError(
          "ERR_REQUEST_TOO_LARGE",
          "invalid_argument",
          "the request head is larger than the limit",
        ),
        httpStatus: 431,
      };
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return {
        failure: new TransportError(
          "ERR_REQUEST_TOO_LARGE",
          "invalid_argument",
          "the chunk extensions are larger than the limit",
        ),
        httpStatus: 413,
      };
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return {
        failure: new TransportError("ERR_REQUEST_TIMEOUT", "deadline_exceeded", "the request did not arrive in time"),
        httpStatus: 408,
      };
    default:
      return {
        failure: new TransportError(
          "ERR_REQUEST_MALFORMED",
          "invalid_argument",
          "the bytes sent are not a valid HTTP/1.1 request",
        ),
        httpStatus: 400,
      };
  }
}
