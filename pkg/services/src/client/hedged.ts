import type { DescMethod, MessageShape } from "@bufbuild/protobuf";
import { AppError, type Clock, sleep } from "@plinth/kernel";
import type { Hedging } from "@plinth/resilience";
import type { UnaryChannelCall } from "@plinth/transport";
import type { Attempts } from "./attempts.ts";
import type { Instances } from "./instances.ts";
import { OwnSignal } from "./own-signal.ts";
import type { CallState } from "./plans.ts";

export interface HedgedOptions {
  readonly instances: Instances;
  readonly clock: Clock;
}

/**
 * One attempt, and where it is slower than usual a second one at another instance beside it: the first good reply counts, and the other attempt
 * is broken off. Without hedging it is one attempt.
 * @throws AppError what the last of them failed with.
 */
export function hedged<M extends DescMethod>(
  call: UnaryChannelCall<M>,
  state: CallState,
  attempts: Attempts,
  options: HedgedOptions,
): Promise<MessageShape<M["output"]>> {
  const { hedging } = state.plan;
  if (hedging) return withHedge(hedging, call, state, attempts, options);
  state.attempts++;
  return attempts.unary(call, state, String(state.attempts));
}

async function withHedge<M extends DescMethod>(
  hedging: Hedging,
  call: UnaryChannelCall<M>,
  state: CallState,
  attempts: Attempts,
  { instances, clock }: HedgedOptions,
): Promise<MessageShape<M["output"]>> {
  const isFirst = state.attempts === 0;
  const startedAtMs = clock.monotonicMs();
  const delayMs = isFirst ? hedging.delayMs(state.deadlineAtMs - startedAtMs) : undefined;
  state.attempts++;
  if (delayMs === undefined) {
    const reply = await attempts.unary(call, state, String(state.attempts));
    hedging.observe(clock.monotonicMs() - startedAtMs);
    return reply;
  }
  const signals: OwnSignal[] = [];
  const begin = (label: string): Promise<MessageShape<M["output"]>> => {
    const own = new OwnSignal(call.signal);
    signals.push(own);
    return attempts.unary({ ...call, signal: own.signal }, state, label).finally(() => own.end());
  };
  const first = begin("1");
  const waiting = new OwnSignal(call.signal);
  try {
    const isSlow = await Promise.race([
      first.then(
        () => false,
        () => false,
      ),
      sleep(clock, delayMs, { signal: waiting.signal }).then(
        () => true,
        () => false,
      ),
    ]);
    const tried = new Set(state.tried);
    if (state.pickedId !== undefined) tried.add(state.pickedId);
    let answer = first;
    if (isSlow && instances.hasOther(tried) && hedging.take()) {
      state.attempts++;
      state.tried = tried;
      answer = firstGood(first, begin("hedge"));
    }
    const reply = await answer;
    hedging.observe(clock.monotonicMs() - startedAtMs);
    return reply;
  } finally {
    waiting.abort(superseded());
    waiting.end();
    for (const own of signals) own.abort(superseded());
  }
}

/** The first reply, or the error of whichever failed last. */
function firstGood<T>(one: Promise<T>, other: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    let failed = 0;
    const fail = (error: unknown): void => {
      // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- what the attempt threw
      if (++failed === 2) reject(error);
    };
    one.then(resolve, fail);
    other.then(resolve, fail);
  });
}

function superseded(): AppError {
  return AppError.cancelled("ERR_CANCELLED", "another attempt of the call has been answered");
}
