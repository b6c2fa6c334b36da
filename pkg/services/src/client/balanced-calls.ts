import type { DescMethod, MessageShape } from "@bufbuild/protobuf";
import { AppError, type Clock, type Logger, type Metrics, sleep } from "@plinth/kernel";
import type { ConcurrencyCap, Hedging, Retries, RetryBudget } from "@plinth/resilience";
import type { ChannelCall, RpcMetadata, StreamChannelCall, UnaryChannelCall } from "@plinth/transport";
import { Attempts } from "./attempts.ts";
import { credentialHeaders } from "./credential-headers.ts";
import type { ChannelDescription } from "./describe.ts";
import { closed, givenUp, isAbsence, isUnsent, overloaded, retryAfterMsOf, tooSlow } from "./failures.ts";
import { hedged } from "./hedged.ts";
import type { Instances } from "./instances.ts";
import { type CallStatus, type ChannelMeters, channelMeters } from "./meters.ts";
import type { BalancedChannel, CallCredentials, BalancedChannelOptions, ServiceTransport } from "./options.ts";
import { abortable, OwnSignal } from "./own-signal.ts";
import { type CallState, type MethodPlan, MethodPlans } from "./plans.ts";
import { streamed } from "./streamed.ts";

export interface BalancedCallsOptions {
  readonly instances: Instances;
  readonly retries: Retries | undefined;
  readonly budget: RetryBudget | undefined;
  readonly toHedging: (() => Hedging) | undefined;
  readonly cap: ConcurrencyCap;
  readonly service: string;
  readonly transport: ServiceTransport;
  readonly foundBy: ChannelDescription["foundBy"];
  readonly clock: Clock;
  readonly timeoutMs: number | undefined;
  readonly marginMs: number;
  readonly attemptTimeoutMs: number;
  readonly credentials: readonly CallCredentials[];
  readonly keyOf: NonNullable<BalancedChannelOptions["keyOf"]>;
  readonly log: Logger | undefined;
  readonly metrics: Metrics | undefined;
}

/** Of a call with one reply whose client gives it all the time there is. */
const defaultTimeoutMs = 2_000;

/** The calls of a balanced channel: a place for each, its attempts one after the other, and the end of all of them. */
export class BalancedCalls implements BalancedChannel {
  readonly peer: string;
  readonly #options: BalancedCallsOptions;
  readonly #plans: MethodPlans;
  readonly #attempts: Attempts;
  readonly #meters: ChannelMeters;
  /** Aborts when nothing more is waited for. */
  readonly #over = new AbortController();
  #underWay = 0;
  #idle: PromiseWithResolvers<void> | undefined;
  #closed: Promise<void> | undefined;

  constructor(options: BalancedCallsOptions) {
    const { service, toHedging, metrics, transport } = options;
    this.peer = service;
    this.#options = options;
    this.#plans = new MethodPlans(service, toHedging);
    this.#meters = channelMeters(metrics, service, () => this.describe());
    this.#attempts = new Attempts({ ...options, meters: this.#meters, readsHeaders: transport === "http" });
  }

  async unary<M extends DescMethod>(given: UnaryChannelCall<M>): Promise<MessageShape<M["output"]>> {
    const { clock, timeoutMs: own } = this.#options;
    const timeoutMs = Math.min(given.timeoutMs, own ?? (given.timeoutMs === Infinity ? defaultTimeoutMs : Infinity));
    const limit =
      timeoutMs < given.timeoutMs
        ? new OwnSignal(given.signal).after(clock, timeoutMs, () => tooSlow(timeoutMs, false))
        : undefined;
    const call = limit ? { ...given, timeoutMs, signal: limit.signal } : given;
    const plan = this.#plans.of(given.method);
    const startedAtMs = clock.monotonicMs();
    let status: CallStatus = "ok";
    try {
      const entered = this.#enter(call, plan, startedAtMs);
      const state = entered instanceof Promise ? await entered : entered;
      try {
        return await this.#repeat(call, state);
      } finally {
        this.#leave();
        tell(call, state);
      }
    } catch (error) {
      status = AppError.from(error).status;
      throw error;
    } finally {
      limit?.end();
      this.#meters.call(plan.called.method, status, clock.monotonicMs() - startedAtMs);
    }
  }

  async *stream<M extends DescMethod>(call: StreamChannelCall<M>): AsyncGenerator<MessageShape<M["output"]>> {
    const { clock } = this.#options;
    const plan = this.#plans.of(call.method);
    const startedAtMs = clock.monotonicMs();
    let status: CallStatus = "cancelled"; // unless it comes to its end: its reader left
    try {
      const state = await this.#enter(call, plan, startedAtMs);
      try {
        yield* streamed(call, state, {
          attempts: this.#attempts,
          instances: this.#options.instances,
          afterFailure: (error, hasReplyBegun) => this.#afterFailure(error, call, state, hasReplyBegun),
        });
        status = "ok";
      } finally {
        this.#leave();
      }
    } catch (error) {
      status = AppError.from(error).status;
      throw error;
    } finally {
      this.#meters.call(plan.called.method, status, clock.monotonicMs() - startedAtMs);
    }
  }

  describe(): ChannelDescription {
    const { instances, service, transport, foundBy, budget, cap } = this.#options;
    return {
      service,
      transport,
      foundBy,
      isKnown: instances.isKnown,
      isClosed: this.#closed !== undefined,
      instances: instances.describe(),
      isPanicking: instances.isPanicking,
      circuits: instances.circuits(),
      budget: budget && {
        ratio: budget.ratio,
        requests: budget.requests,
        retries: budget.retries,
        available: budget.available,
        refused: budget.refused,
      },
      calls: { inFlight: cap.inFlight, waiting: cap.waiting, refused: cap.refused },
    };
  }

  close({ signal = AbortSignal.abort() }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    this.#closed ??= this.#close();
    const cut = (): void => {
      this.#over.abort(closed(this.peer));
      // a stream whose reader asks for no more learns of its end when it does, be it never: nobody waits for that
      this.#idle?.resolve();
      void this.#options.instances.close(AbortSignal.abort());
    };
    if (signal.aborted) cut();
    signal.addEventListener("abort", cut, { once: true });
    return this.#closed.finally(() => signal.removeEventListener("abort", cut));
  }

  async #close(): Promise<void> {
    this.#idle = Promise.withResolvers<void>();
    if (this.#underWay > 0) await this.#idle.promise;
    this.#meters.close();
    await this.#options.instances.close(AbortSignal.abort());
  }

  /**
   * Takes a place, and finds out what the call is sent with: at once, where nothing is to be waited for. When it has not failed, `#leave` is to be called.
   */
  #enter(call: ChannelCall<DescMethod>, plan: MethodPlan, startedAtMs: number): CallState | Promise<CallState> {
    const { cap, instances, credentials } = this.#options;
    if (this.#closed) throw closed(this.peer);
    call.signal.throwIfAborted();
    this.#underWay++;
    const isReady = credentials.length === 0 && !instances.answer && cap.tryAcquire();
    return isReady ? this.#stateOf(call, plan, startedAtMs, call.headers) : this.#enterWaiting(call, plan, startedAtMs);
  }

  async #enterWaiting(call: ChannelCall<DescMethod>, plan: MethodPlan, startedAtMs: number): Promise<CallState> {
    const { cap, instances, credentials } = this.#options;
    let hasPlace = false;
    let { headers } = call;
    try {
      hasPlace = cap.tryAcquire() || (await this.#wait(call));
      if (instances.answer) await abortable(instances.answer, this.#whileWanted(call));
      if (credentials.length > 0)
        headers = await abortable(credentialHeaders(credentials, call, this.peer), this.#whileWanted(call));
    } catch (error) {
      if (hasPlace) cap.release();
      this.#end();
      throw error;
    }
    return this.#stateOf(call, plan, startedAtMs, headers);
  }

  /** Of a call that has its place, which it loses where this throws. */
  #stateOf(
    { method, timeoutMs }: ChannelCall<DescMethod>,
    plan: MethodPlan,
    startedAtMs: number,
    headers: RpcMetadata,
  ): CallState {
    const { retries, keyOf } = this.#options;
    try {
      retries?.begin();
      return {
        plan,
        deadlineAtMs: startedAtMs + timeoutMs,
        headers,
        key: keyOf({ method, headers }),
        attempts: 0,
        isAnswered: false,
        isUnsent: true,
        tried: undefined,
        pickedId: undefined,
        told: undefined,
      };
    } catch (error) {
      this.#leave();
      throw error;
    }
  }

  async #wait(call: ChannelCall<DescMethod>): Promise<true> {
    const { cap } = this.#options;
    const signal = this.#whileWanted(call);
    const verdict = await cap.acquire({ timeoutMs: call.timeoutMs, signal });
    if (verdict === "taken") return true;
    signal.throwIfAborted();
    throw overloaded(this.peer, cap.maxInFlight);
  }

  #leave(): void {
    this.#options.cap.release();
    this.#end();
  }

  #end(): void {
    if (--this.#underWay === 0) this.#idle?.resolve();
  }

  /** Aborts when the caller has left, or the channel is closed. Made only where something is waited for. */
  #whileWanted({ signal }: ChannelCall<DescMethod>): AbortSignal {
    return AbortSignal.any([signal, this.#over.signal]);
  }

  async #repeat<M extends DescMethod>(call: UnaryChannelCall<M>, state: CallState): Promise<MessageShape<M["output"]>> {
    for (;;) {
      try {
        return await hedged(call, state, this.#attempts, this.#options);
      } catch (error) {
        await this.#afterFailure(error, call, state, false);
      }
    }
  }

  /**
   * Resolves when another attempt is to be made.
   * @throws what the call fails with.
   */
  async #afterFailure(
    thrown: unknown,
    call: ChannelCall<DescMethod>,
    state: CallState,
    hasReplyBegun: boolean,
  ): Promise<void> {
    const { retries, clock, credentials, log } = this.#options;
    const error = AppError.from(thrown);
    if (error.status === "unauthenticated") for (const each of credentials) each.refused?.(state.headers);
    if (this.#over.signal.aborted || call.signal.aborted || !retries) throw error;
    const { plan, attempts, isUnsent: wasUnsent } = state;
    const verdict = retries.next({
      attempts,
      isUnsent: isUnsent(error),
      isIdempotent: plan.isIdempotent,
      isRetryable: error.retryable && !isAbsence(error),
      hasReplyBegun,
      isCancelled: error.status === "cancelled",
      remainingMs: state.deadlineAtMs === Infinity ? Infinity : state.deadlineAtMs - clock.monotonicMs(),
      retryAfterMs: retryAfterMsOf(error, state.told?.headers, clock.now()),
    });
    const { method } = plan.called;
    if (!verdict.retry) {
      this.#meters.givenUp(verdict.reason);
      // where it was not tried again for the harm that could do, whoever is above knows better whether it may
      if (attempts === 1 && (verdict.reason === "not_retryable" || verdict.reason === "attempts")) throw error;
      throw givenUp(error, wasUnsent);
    }
    log?.debug("a call is tried again", {
      service: this.peer,
      method,
      attempts,
      code: error.code,
      delayMs: verdict.delayMs,
    });
    if (verdict.delayMs > 0) await sleep(clock, verdict.delayMs, { signal: this.#whileWanted(call) });
  }
}

/** The caller hears of one attempt alone: that which its reply, or its error, is from. */
function tell({ onHeaders, onTrailers }: ChannelCall<DescMethod>, { told }: CallState): void {
  if (told?.headers) onHeaders?.(told.headers);
  if (told?.trailers) onTrailers?.(told.trailers);
}
