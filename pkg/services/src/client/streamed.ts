import type { DescMethod, MessageShape } from "@bufbuild/protobuf";
import type { StreamChannelCall } from "@plinth/transport";
import type { Attempts } from "./attempts.ts";
import type { Instances } from "./instances.ts";
import type { CallState } from "./plans.ts";

export interface StreamedOptions {
  readonly attempts: Attempts;
  readonly instances: Instances;
  /** Resolves when another attempt is to be made. */
  readonly afterFailure: (error: unknown, hasReplyBegun: boolean) => Promise<void>;
}

/** The messages of a stream: from the first instance that sends one, or ends in order. */
export async function* streamed<M extends DescMethod>(
  call: StreamChannelCall<M>,
  state: CallState,
  { attempts, instances, afterFailure }: StreamedOptions,
): AsyncGenerator<MessageShape<M["output"]>> {
  const canRepeat = call.method.methodKind === "server_streaming";
  const requests = canRepeat ? repeatable(call.requests) : () => call.requests;
  for (;;) {
    state.attempts++;
    const timeoutMs = attempts.timeoutMs({ ...state, plan: { ...state.plan, isIdempotent: false } });
    const picked = attempts.pick(state);
    const label = String(state.attempts);
    let isReleased = false;
    let latencyMs: number | undefined;
    try {
      const { line } = picked.seat.member;
      const channel = line.channel ?? (await line.open());
      const sent = attempts.toInstance({ ...call, timeoutMs, requests: requests() }, state, picked);
      for await (const reply of channel.stream(sent)) {
        latencyMs ??= attempts.sinceMs(picked);
        yield reply;
      }
      isReleased = true;
      attempts.succeed(picked, state, label, undefined, latencyMs);
      return;
    } catch (thrown) {
      isReleased = true;
      const error = attempts.fail(thrown, picked, state, label, undefined);
      // what was read of several requests cannot be sent again
      await afterFailure(error, latencyMs !== undefined || !canRepeat);
    } finally {
      // its reader left: that says nothing, unless there was something to read
      if (!isReleased) instances.release(picked, latencyMs === undefined ? "unknown" : "success", latencyMs);
    }
  }
}

/** The requests of a stream, read once and sent as often as it is asked for. */
function repeatable<T>(requests: AsyncIterable<T>): () => AsyncIterable<T> {
  let read: Promise<readonly T[]> | undefined;
  return async function* again() {
    yield* await (read ??= Array.fromAsync(requests));
  };
}
