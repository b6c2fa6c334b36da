import { AppError } from "@plinth/kernel";
import { type FieldFault, RequestError, toPointer, TransportError, type TransportErrorCode } from "../errors.ts";
import { toUnexpected } from "../exchange.ts";
import { STATUS_CODES } from "../node-http.ts";
import { fromHttpStatus } from "../status.ts";
import { methodLabel } from "./observe.ts";
import { HttpRefusal } from "./refusal.ts";

/** An error as HTTP sees it: 405, 413 and the like have no canonical status of their own. */
export interface HttpFailure {
  readonly error: AppError;
  readonly httpStatus?: number;
  /** It was thrown by code that meant no caller: operators hear of it, whatever status it got. */
  readonly isUnexpected?: boolean;
  /** What the reply has besides. */
  readonly headers?: Readonly<Record<string, string>>;
}

interface Refusal {
  readonly code: TransportErrorCode;
  readonly httpStatus: number;
  readonly message: string;
}

const tooLarge: Refusal = {
  code: "ERR_REQUEST_TOO_LARGE",
  httpStatus: 413,
  message: "the request body is larger than the limit",
};
const mediaType: Refusal = {
  code: "ERR_REQUEST_MEDIA_TYPE",
  httpStatus: 415,
  message: "the media type of the body is not one that this route reads; send application/json",
};
const badPath: Refusal = {
  code: "ERR_REQUEST_MALFORMED",
  httpStatus: 400,
  message: "the path is not a valid one: an escape in it is broken",
};

/** What fastify refuses by itself, in our words: its own repeat what the caller sent. */
const refusals: Readonly<Record<string, Refusal>> = {
  FST_ERR_BAD_URL: badPath,
  FST_ERR_MAX_PARAM_LENGTH: {
    code: "ERR_REQUEST_MALFORMED",
    httpStatus: 414,
    message: "a segment of the path is longer than the limit",
  },
  FST_ERR_CTP_BODY_TOO_LARGE: tooLarge,
  FST_ERR_CTP_INVALID_MEDIA_TYPE: mediaType,
  FST_ERR_ROUTE_MISSING_CONTENT_TYPE: mediaType,
  FST_ERR_CTP_EMPTY_JSON_BODY: {
    code: "ERR_REQUEST_BODY",
    httpStatus: 400,
    message: "the body is empty, and its media type promises JSON",
  },
  FST_ERR_CTP_INVALID_JSON_BODY: {
    code: "ERR_REQUEST_BODY",
    httpStatus: 400,
    message: "the body is not valid JSON",
  },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: {
    code: "ERR_REQUEST_BODY",
    httpStatus: 400,
    message: "the body has not the length that content-length says",
  },
};

const late: Refusal = {
  code: "ERR_REQUEST_TIMEOUT",
  httpStatus: 408,
  message: "the request did not arrive in time",
};
export const tooSlow: HttpFailure = toFailure(late);

/** What the parser of HTTP refuses, by its error's code, before there is a request to answer. */
const parserRefusals: Readonly<Record<string, Refusal>> = {
  HPE_HEADER_OVERFLOW: {
    code: "ERR_REQUEST_TOO_LARGE",
    httpStatus: 431,
    message: "the request head is larger than the limit",
  },
  HPE_CHUNK_EXTENSIONS_OVERFLOW: {
    code: "ERR_REQUEST_TOO_LARGE",
    httpStatus: 413,
    message: "the chunk extensions are larger than the limit",
  },
  ERR_HTTP_REQUEST_TIMEOUT: late,
};
export const malformed: Refusal = {
  code: "ERR_REQUEST_MALFORMED",
  httpStatus: 400,
  message: "what was sent is not a valid HTTP/1.1 request",
};

export const methodNotAllowed: HttpFailure = toFailure({
  code: "ERR_METHOD_NOT_ALLOWED",
  httpStatus: 405,
  message: "this endpoint is only read; use GET or HEAD",
});
export const badExpectation: HttpFailure = toFailure({
  code: "ERR_REQUEST_REFUSED",
  httpStatus: 417,
  message: "the only expectation that this server meets is 100-continue",
});

/** Turns anything a handler, a hook or fastify itself threw into what the caller gets. Never throws, whatever it is given. */
export function toHttpFailure(thrown: unknown): HttpFailure {
  try {
    return classify(thrown);
  } catch (error) {
    // a proxy or getter that throws when looked at
    const fault = new AppError("ERR_INTERNAL", "internal", "a thrown value that cannot be read", { cause: error });
    return { error: fault, isUnexpected: true };
  }
}

/** @param types - Those that the route reads. */
export function mediaTypeRefused(types: readonly string[]): HttpRefusal {
  return new HttpRefusal({
    code: "ERR_REQUEST_MEDIA_TYPE",
    httpStatus: 415,
    message: `the media type of the body is not one that this route reads; send ${types.join(" or ")}`,
  });
}

export function routeNotFound(method: string): TransportError {
  return new TransportError(
    "ERR_ROUTE_NOT_FOUND",
    "not_found",
    `there is no ${methodLabel(method)} route for this path`,
  );
}

export function toParserFailure(error: Error & { readonly code?: unknown }): HttpFailure {
  return toFailure(parserRefusals[String(error.code)] ?? malformed, error);
}

function classify(thrown: unknown): HttpFailure {
  if (thrown instanceof HttpRefusal) return { error: thrown, httpStatus: thrown.httpStatus };
  if (thrown instanceof TransportError && thrown.code === "ERR_MISDIRECTED") return { error: thrown, httpStatus: 421 };
  if (AppError.is(thrown)) return { error: thrown };
  if (!(thrown instanceof Error) || !("code" in thrown) || typeof thrown.code !== "string")
    return { error: toUnexpected(thrown), isUnexpected: true };
  if ("validation" in thrown && Array.isArray(thrown.validation)) {
    const part = "validationContext" in thrown ? String(thrown.validationContext) : "body";
    return { error: new RequestError(thrown.validation.map((fault: ValidationFault) => toFieldFault(fault, part))) };
  }
  const refusal = refusals[thrown.code];
  if (refusal) return toFailure(refusal, thrown);
  // A plugin of fastify's kind refuses by throwing its own code with a status; its text may repeat what was sent.
  const status = "statusCode" in thrown ? Number(thrown.statusCode) : 500;
  if (/^FST_(?!ERR_)/.test(thrown.code) && status >= 400 && status < 500)
    return toFailure(
      { code: "ERR_REQUEST_REFUSED", httpStatus: status, message: STATUS_CODES[status] ?? "Refused" },
      thrown,
    );
  return { error: toUnexpected(thrown), isUnexpected: true };
}

export function toFailure({ code, httpStatus, message }: Refusal, cause?: unknown): HttpFailure {
  const options = cause === undefined ? {} : { cause };
  return { error: new TransportError(code, fromHttpStatus(httpStatus), message, options), httpStatus };
}

/** One fault as the JSON Schema validator tells it. */
interface ValidationFault {
  readonly instancePath: string;
  readonly message?: string;
  readonly params?: Readonly<Record<string, unknown>>;
}

function toFieldFault(
  { instancePath, message = "is not valid", params = {} }: ValidationFault,
  part: string,
): FieldFault {
  const base = part === "body" ? "" : `/${part === "querystring" ? "query" : part}`;
  const name = params.missingProperty ?? params.additionalProperty;
  const pointer = `${base}${instancePath}`;
  return { pointer: typeof name === "string" ? toPointer(pointer, [name]) : pointer, detail: message };
}
