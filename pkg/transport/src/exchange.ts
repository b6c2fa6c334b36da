import { AppError, type Clock, type RequestContext, type Scheduled, type Span } from "@plinth/kernel";

export interface ExchangeOptions {
  readonly requestId: string;
  readonly span: Span;
  readonly clock: Clock;
  /** Milliseconds left for the work, above 0. */
  readonly budgetMs: number;
  /** Called once when the budget is used up. */
  readonly onDeadline: (error: AppError) => void;
}

/** One request being served, HTTP or RPC: what its handler, log lines, spans and statements share. */
export class Exchange implements RequestContext {
  readonly requestId: string;
  readonly span: Span;
  readonly startedAtMs: number;
  readonly deadlineAtMs: number;
  /** Route template or RPC method: what labels and span names may hold. */
  route = "unmatched";
  /** What went wrong, for span and access log. */
  error: AppError | undefined;
  readonly #timer: Scheduled;
  #controller: AbortController | undefined;
  #ended: AppError | undefined;

  constructor({ requestId, span, clock, budgetMs, onDeadline }: ExchangeOptions) {
    this.requestId = requestId;
    this.span = span;
    this.startedAtMs = clock.monotonicMs();
    this.deadlineAtMs = this.startedAtMs + budgetMs;
    this.#timer = clock.schedule(
      budgetMs,
      () => {
        const error = new AppError(
          "ERR_DEADLINE_EXCEEDED",
          "deadline_exceeded",
          `no answer within the ${Math.round(budgetMs)} ms allowed`,
        );
        this.abort(error);
        onDeadline(error);
      },
      { keepAlive: false },
    );
  }

  /** Aborts when the caller has gone or the deadline has passed. Made when first asked for: most handlers never do. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#ended) this.#controller.abort(this.#ended);
    return this.#controller.signal;
  }

  /** Tells the handler to stop; the first reason counts. */
  abort(reason: AppError): void {
    if (this.#ended) return;
    this.#ended = reason;
    this.#controller?.abort(reason);
  }

  /** The exchange is over: nothing fires any more. */
  end(): void {
    this.#timer.cancel();
  }
}

/** The caller's remaining time, if it names one, else the server's; never more than the server's. In milliseconds. */
export function budgetOf(callerMs: string | string[] | undefined, serverMs: number): number {
  if (typeof callerMs !== "string" || !/^\d{1,9}$/.test(callerMs)) return serverMs;
  return Math.min(Math.max(1, Number(callerMs)), serverMs);
}
