import { format } from "node:util";
import { currentContext, type Logger, type LogLevel } from "@plinth/kernel";
import { type FastifyBaseLogger, type FastifyRequest, LogController } from "fastify";
import { HttpExchange } from "./exchange.ts";

/** `request.log`, `reply.log` and `app.log` of fastify: they write to the app's log, with the ids of the request. */
export function bridgeLog(log: Logger, listener: FailureListener): FastifyBaseLogger {
  const write =
    (level: LogLevel) =>
    (first: unknown, ...rest: readonly unknown[]): void => {
      const { message, fields } = toLine(first, rest);
      const exchange = currentContext();
      if (exchange instanceof HttpExchange && message === handlerFailed) listener.failedLate(fields.error, exchange);
      else if (exchange instanceof HttpExchange && message === abortHookFailed)
        listener.hookFailed(fields.error, exchange);
      else if (isRepeated(fields.error) && exchange?.signal?.aborted) log.debug("a late reply was dropped", fields);
      else log[level](message, fields);
    };
  const bridge: FastifyBaseLogger = {
    level: "info",
    trace: write("trace"),
    debug: write("debug"),
    info: write("info"),
    warn: write("warn"),
    error: write("error"),
    fatal: write("fatal"),
    silent: () => {},
    child: (bindings) => bridgeLog(log.child(bindings), listener),
  };
  return bridge;
}

/** How fastify tells that a handler has rejected when its reply was out, and a hook when the caller had gone; it tells nobody else. */
const handlerFailed = "Promise errored, but reply.sent = true was set";
const abortHookFailed = "onRequestAborted hook failed";

function isRepeated(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "FST_ERR_REP_ALREADY_SENT";
}

/** fastify and pino take fields first and the message second, either of them optional, then arguments for its placeholders. */
function toLine(
  first: unknown,
  rest: readonly unknown[],
): { readonly message: string; readonly fields: { readonly error?: unknown } } {
  if (typeof first !== "object" || first === null) return { message: format(first, ...rest), fields: {} };
  const { err, ...others } = first instanceof Error ? { err: first } : { err: undefined, ...first };
  const fields = err === undefined ? others : { ...others, error: err };
  const message = rest.length > 0 ? format(...rest) : err instanceof Error ? err.message : "";
  return { message, fields };
}

/** Who is told of what fastify only writes to its log. */
export interface FailureListener {
  /** A reply's stream failed after part of it was sent. */
  streamFailed(thrown: unknown, request: FastifyRequest): void;
  /** A hook that runs after the reply failed. */
  failedAfterwards(thrown: unknown, request: FastifyRequest): void;
  /** A handler failed when its reply was given. */
  failedLate(thrown: unknown, exchange: HttpExchange): void;
  /** A hook that runs when the caller has gone failed. */
  hookFailed(thrown: unknown, exchange: HttpExchange): void;
}

/** fastify's own lines are dropped, for we write ours. */
export class QuietLog extends LogController {
  readonly #listener: FailureListener;

  constructor(listener: FailureListener) {
    super({ disableRequestLogging: true });
    this.#listener = listener;
  }

  override incomingRequest(): void {}

  override requestCompleted(error: Error | null | undefined, request: FastifyRequest): void {
    if (error !== null && error !== undefined) this.#listener.failedAfterwards(error, request);
  }

  override streamError(error: Error, request: FastifyRequest): void {
    this.#listener.streamFailed(error, request);
  }
}
