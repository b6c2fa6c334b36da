import type { Metrics, Status } from "@plinth/kernel";
import type { NoRetryReason } from "@plinth/resilience";
import type { ChannelDescription } from "./describe.ts";

/** How a call or an attempt ended. */
export type CallStatus = Status | "ok";
/** The attempt's place in its call, or that it was sent beside a slow first one. */
export type AttemptLabel = string;

/** Counts the calls of one channel. */
export interface ChannelMeters {
  call(method: string, status: CallStatus, elapsedMs: number): void;
  attempt(method: string, status: CallStatus, attempt: AttemptLabel): void;
  givenUp(reason: NoRetryReason): void;
  /** No longer shows the channel. */
  close(): void;
}

/** Absent metrics count nothing. */
export function channelMeters(
  metrics: Metrics | undefined,
  service: string,
  describe: () => ChannelDescription,
): ChannelMeters {
  if (!metrics) return none;
  const { duration, attempts, refused, channels } = declaredIn(metrics);
  const shown = { describe };
  channels.add(shown);
  return {
    call: (method, status, elapsedMs) => duration.observe({ service, method, status }, elapsedMs / 1e3),
    attempt: (method, status, attempt) => attempts.inc({ service, method, status, attempt }),
    givenUp: (reason) => refused.inc({ service, reason }),
    close: () => void channels.delete(shown),
  };
}

const none: ChannelMeters = { call() {}, attempt() {}, givenUp() {}, close() {} };

const known = new WeakMap<Metrics, ReturnType<typeof declareIn>>();

/** A name is declared once for each app. */
function declaredIn(metrics: Metrics): ReturnType<typeof declareIn> {
  const own = known.get(metrics) ?? declareIn(metrics);
  known.set(metrics, own);
  return own;
}

function declareIn(metrics: Metrics) {
  const channels = new Set<{ describe(): ChannelDescription }>();
  metrics.gauge({
    name: "service_client_instances",
    help: "Instances of a service as its client sees them.",
    labels: ["service", "state"],
    collect: (gauge) => {
      for (const [service, states] of instancesBy(channels))
        for (const [state, count] of Object.entries(states)) gauge.set({ service, state }, count);
    },
  });
  return {
    channels,
    duration: metrics.histogram({
      name: "service_client_call_duration_seconds",
      help: "Time from a call to its reply, all attempts and waits together.",
      labels: ["service", "method", "status"],
    }),
    attempts: metrics.counter({
      name: "service_client_attempts_total",
      help: "Attempts of calls at instances, by their place in the call.",
      labels: ["service", "method", "status", "attempt"],
      maxSeries: 5_000,
    }),
    refused: metrics.counter({
      name: "service_client_given_up_total",
      help: "Failed calls that were not tried again, by why.",
      labels: ["service", "reason"],
    }),
  };
}

type States = Record<ChannelDescription["instances"][number]["state"], number>;

function instancesBy(channels: Iterable<{ describe(): ChannelDescription }>): ReadonlyMap<string, States> {
  const by = new Map<string, States>();
  for (const channel of channels) {
    const { service, instances, isClosed } = channel.describe();
    if (isClosed) continue; // another has taken its place
    const states = by.get(service) ?? { ready: 0, ejected: 0, misdirected: 0 };
    for (const { state } of instances) states[state]++;
    by.set(service, states);
  }
  return by;
}
