import { AppError, type Clock, type RequestContext, type Scheduled } from "@plinth/kernel";
import { TransportError } from "../../errors.ts";

export interface CallLimitsOptions {
  readonly clock: Clock;
  /** The call's own limit, in milliseconds. `Infinity`: none. */
  readonly timeoutMs: number;
  /** Of whoever makes the call. */
  readonly signal: AbortSignal | undefined;
  /** The request that it is made for, if any: it has a deadline, and may be cancelled. */
  readonly context: RequestContext | undefined;
}

/** How long a call may take, and who may end it before: its caller, and the request that it is made for. */
export class CallLimits {
  /** What is left of all limits at the beginning, in whole milliseconds. */
  readonly timeoutMs: number;
  readonly #controller = new AbortController();
  readonly #sources: AbortSignal[] = [];
  readonly #timer: Scheduled | undefined;
  #giveUp: ((reason: AppError) => void) | undefined;

  /** @throws AppError `deadline_exceeded` or `cancelled` when there is no sense in beginning. */
  constructor({ clock, timeoutMs, signal, context }: CallLimitsOptions) {
    if (signal) this.#sources.push(signal);
    const outer = context?.signal;
    if (outer && outer !== signal) this.#sources.push(outer);
    const stopped = this.#sources.find(({ aborted }) => aborted);
    if (stopped) throw toReason(stopped.reason);
    const leftMs = context?.deadlineAtMs === undefined ? Infinity : context.deadlineAtMs - clock.monotonicMs();
    const ms = Math.min(timeoutMs, leftMs);
    this.timeoutMs = ms === Infinity ? ms : Math.floor(ms);
    if (this.timeoutMs < 1) throw deadlineExceeded("no time is left for a call; nothing was sent");
    for (const source of this.#sources) source.addEventListener("abort", this.#onAbort, { once: true });
    if (this.timeoutMs === Infinity) return;
    const expire = (): void => this.#stop(deadlineExceeded(`no reply within the ${this.timeoutMs} ms that were left`));
    this.#timer = clock.schedule(this.timeoutMs, expire, { keepAlive: false });
  }

  /** Aborts with an `AppError`: `cancelled` or `deadline_exceeded`. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** What `work` comes to, or why it is not waited for any more. Call at most once. */
  race<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#giveUp = reject;
      if (this.signal.aborted) reject(toReason(this.signal.reason));
      work.then(resolve, reject);
    });
  }

  /** The call is over. Safe to call twice. */
  end(): void {
    this.#timer?.cancel();
    for (const source of this.#sources) source.removeEventListener("abort", this.#onAbort);
  }

  readonly #onAbort = (event: Event): void => {
    const source = event.target;
    this.#stop(toReason(source instanceof AbortSignal ? source.reason : undefined));
  };

  #stop(reason: AppError): void {
    this.#controller.abort(reason);
    this.#giveUp?.(reason);
  }
}

function deadlineExceeded(message: string): TransportError {
  return new TransportError("ERR_DEADLINE_EXCEEDED", "deadline_exceeded", message);
}

/** Whatever a signal was aborted with says no more than that nobody waits, or that time is up. */
export function toReason(reason: unknown): AppError {
  if (AppError.is(reason) && (reason.status === "cancelled" || reason.status === "deadline_exceeded")) return reason;
  if (reason instanceof DOMException && reason.name === "TimeoutError")
    return new TransportError("ERR_DEADLINE_EXCEEDED", "deadline_exceeded", "the time of the caller is up", {
      cause: reason,
    });
  return new AppError("ERR_CANCELLED", "cancelled", "the call was cancelled", { cause: reason });
}
