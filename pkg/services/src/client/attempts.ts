import type { DescMethod, MessageShape } from "@bufbuild/protobuf";
import { AppError, type Clock } from "@plinth/kernel";
import { attemptTimeoutMs } from "@plinth/resilience";
import type { ChannelCall, RpcMetadata, UnaryChannelCall } from "@plinth/transport";
import { wasMisdirected } from "@plinth/transport";
import { isSilence, isUnsent, noTime, outcomeOf, tooSlow } from "./failures.ts";
import type { Instances, Picked } from "./instances.ts";
import type { ChannelMeters } from "./meters.ts";
import { OwnSignal } from "./own-signal.ts";
import type { CallState, Told } from "./plans.ts";

export interface AttemptsOptions {
  readonly instances: Instances;
  readonly clock: Clock;
  readonly meters: ChannelMeters;
  readonly marginMs: number;
  readonly attemptTimeoutMs: number;
  /** Whether replies have headers that say when to come back: over gRPC the error itself does. */
  readonly readsHeaders: boolean;
}

/** Makes the attempts of calls: each at an instance, within the caller's time, and tells what it has shown of that instance. */
export class Attempts {
  readonly #options: AttemptsOptions;

  constructor(options: AttemptsOptions) {
    this.#options = options;
  }

  /** @throws AppError what the attempt failed with. */
  async unary<M extends DescMethod>(
    call: UnaryChannelCall<M>,
    state: CallState,
    label: string,
  ): Promise<MessageShape<M["output"]>> {
    const { clock, attemptTimeoutMs: maxMs } = this.#options;
    const timeoutMs = this.timeoutMs(state);
    const picked = this.pick(state);
    const own =
      timeoutMs === maxMs && maxMs !== Infinity
        ? new OwnSignal(call.signal).after(clock, maxMs, () => tooSlow(maxMs, state.plan.isIdempotent))
        : undefined;
    const told = this.#toldFor(call);
    try {
      const { line } = picked.seat.member;
      const channel = line.channel ?? (await line.open());
      const signal = own?.signal ?? call.signal;
      const reply = await channel.unary(unaryTo(picked, call, state, { timeoutMs, signal, told }));
      this.succeed(picked, state, label, told);
      return reply;
    } catch (error) {
      throw this.fail(error, picked, state, label, told);
    } finally {
      own?.end();
    }
  }

  /**
   * How long an attempt may take.
   * @throws TransportError `ERR_DEADLINE_EXCEEDED` when there is no time: then nothing is to be sent.
   */
  timeoutMs({ deadlineAtMs, plan }: CallState): number {
    const { clock, marginMs, attemptTimeoutMs: maxMs } = this.#options;
    const leftMs = deadlineAtMs === Infinity ? Infinity : deadlineAtMs - clock.monotonicMs();
    const ms = attemptTimeoutMs(leftMs, { marginMs, maxMs: plan.isIdempotent ? maxMs : Infinity });
    if (ms < 1) throw noTime();
    return ms;
  }

  pick(state: CallState): Picked {
    const picked = this.#options.instances.pick(state.plan.called, state);
    state.pickedId = picked.seat.member.id;
    return picked;
  }

  /** How long ago it was picked, in milliseconds. */
  sinceMs({ pickedAtMs }: Picked): number {
    return this.#options.clock.monotonicMs() - pickedAtMs;
  }

  /** @param latencyMs - How long it let us wait, where that is less than until now. */
  succeed(picked: Picked, state: CallState, label: string, told: Told | undefined, latencyMs?: number): void {
    const { instances, meters } = this.#options;
    instances.release(picked, "success", latencyMs);
    meters.attempt(state.plan.called.method, "ok", label);
    state.told = told;
    state.isAnswered = true;
  }

  /** @returns What the attempt failed with. */
  fail(thrown: unknown, picked: Picked, state: CallState, label: string, told: Told | undefined): AppError {
    const { instances, meters } = this.#options;
    const error = AppError.from(thrown);
    const elapsedMs = this.sinceMs(picked);
    const isElsewhere = wasMisdirected(error);
    if (isElsewhere) instances.misdirect(picked);
    if (isSilence(error, elapsedMs)) instances.unanswered(picked);
    instances.release(picked, isElsewhere ? "unknown" : outcomeOf(error, elapsedMs));
    meters.attempt(state.plan.called.method, error.status, label);
    if (state.isAnswered) return error; // the one of two that was too late
    (state.tried ??= new Set()).add(picked.seat.member.id);
    state.isUnsent &&= isUnsent(error);
    state.told = told;
    return error;
  }

  /** The call of a stream, as one instance is sent it. */
  toInstance<C extends ChannelCall<DescMethod>>(call: C, state: CallState, picked: Picked): C {
    return { ...call, headers: headersTo(picked, state.headers) };
  }

  /** The caller is told of one attempt alone. */
  #toldFor({ onHeaders, onTrailers }: ChannelCall<DescMethod>): Told | undefined {
    return this.#options.readsHeaders || onHeaders || onTrailers ? {} : undefined;
  }
}

interface Own extends Pick<ChannelCall<DescMethod>, "timeoutMs" | "signal"> {
  readonly told: Told | undefined;
}

/** The call as one instance is sent it. */
function unaryTo<M extends DescMethod>(
  picked: Picked,
  call: UnaryChannelCall<M>,
  state: CallState,
  { timeoutMs, signal, told }: Own,
): UnaryChannelCall<M> {
  const headers = headersTo(picked, state.headers);
  if (told === undefined) return { ...call, headers, timeoutMs, signal };
  const onHeaders = (ahead: RpcMetadata): void => void (told.headers = ahead);
  const onTrailers = call.onTrailers && ((after: RpcMetadata): void => void (told.trailers = after));
  return { ...call, headers, timeoutMs, signal, onHeaders, onTrailers };
}

/** Whoever else comes to have the address of the instance refuses what carries this. */
function headersTo({ seat }: Picked, headers: RpcMetadata): RpcMetadata {
  const { identity } = seat.member;
  return identity === undefined ? headers : { ...headers, "plinth-instance": identity };
}
