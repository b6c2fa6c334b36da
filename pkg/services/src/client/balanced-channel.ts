import { randomHex, requireNumber, systemClock } from "@plinth/kernel";
import {
  createConcurrencyCap,
  createHedging,
  createRetries,
  createRetryBudget,
  type RetryOptions,
} from "@plinth/resilience";
import type { RpcChannel } from "@plinth/transport";
import { BalancedCalls } from "./balanced-calls.ts";
import { Instances } from "./instances.ts";
import { lineOpener } from "./open-line.ts";
import type { BalancedChannel, BalancedChannelOptions } from "./options.ts";

/**
 * A channel over channels: each attempt of a call goes to the best instance of a service, and another instance is tried where that is safe.
 *
 * A call is tried again when surely nothing was done with it, or when its method's `idempotency_level` says that doing it twice is the same
 * as doing it once; within its deadline, the budget that all calls of the channel share, and what the service asks for by `Retry-After` or `RetryInfo`.
 * What was cancelled by anybody is not. What is given up after retries comes back as not retryable, so that nobody above tries all of it again.
 * A stream is tried again only before its first message, and only where one message is sent.
 *
 * Nothing is connected before the first call. The far side is told that it has the caller's time less `marginMs`; with no time left nothing is sent.
 *
 * @throws OptionError `ERR_OPTION_RANGE`, `ERR_OPTION_TYPE` naming the option.
 * @throws TransportError `ERR_TLS_FILE`, `ERR_TLS_CERTIFICATE` for files of `tls` that cannot be used.
 *   By calls: RpcError `ERR_NO_INSTANCE`, `ERR_CIRCUIT_OPEN`, TransportError `ERR_OVERLOADED`, `ERR_RPC_CLIENT_CLOSED`, `ERR_DEADLINE_EXCEEDED`,
 *   and what an instance answers or is lost by.
 * @example
 * const channel = await createBalancedChannel({ service: "authz", find: { registry }, transport: "grpc" });
 * const authz = createAuthzClient({ channel });
 */
export async function createBalancedChannel(options: BalancedChannelOptions): Promise<BalancedChannel> {
  const open = lineOpener(options);
  // loads the client, and reads the files of `tls`: what is wrong with them fails here
  await (await open("127.0.0.1:1")).close();
  return balance(options, open);
}

/**
 * The same over channels that are made otherwise.
 * @param open - Makes the channel to the instance at an address, with its first call.
 */
export function balance(
  options: BalancedChannelOptions,
  open: (address: string) => Promise<RpcChannel>,
): BalancedChannel {
  const { service, transport = "grpc", clock = systemClock, random, maxInFlight = 1_024, maxQueue = 1_024 } = options;
  const { timeoutMs, marginMs = 5, attemptTimeoutMs = Infinity, subsetSize = Infinity } = options;
  const { firstAnswerMs = 3_000, clientId = randomHex(8), retries: given = {}, hedging = false } = options;
  if (timeoutMs !== undefined) requireNumber("timeoutMs", timeoutMs, { min: Number.MIN_VALUE });
  requireNumber("marginMs", marginMs, { min: 0 });
  requireNumber("attemptTimeoutMs", attemptTimeoutMs, { min: 1 });
  const ownBudget = given === false ? undefined : given.budget;
  const repeats = given !== false || hedging !== false;
  const budget = repeats ? (ownBudget ?? createRetryBudget({ ...options.budget, clock })) : undefined;
  const retries =
    given === false ? undefined : createRetries(retryOptionsOf({ ...given, budget }, { random, marginMs }));
  const toHedging = hedging === false ? undefined : () => createHedging({ ...hedging, budget, clock });
  toHedging?.(); // options out of range fail here, not with the first call
  const cap = createConcurrencyCap({ maxInFlight, maxQueue, clock });
  const instances = new Instances({
    ...options,
    transport,
    clock,
    clientId,
    subsetSize,
    firstAnswerMs,
    open,
  });
  return new BalancedCalls({
    instances,
    retries,
    budget,
    toHedging,
    cap,
    service,
    transport,
    clock,
    timeoutMs,
    marginMs,
    attemptTimeoutMs,
    foundBy: "registry" in options.find ? "registry" : "addresses" in options.find ? "addresses" : "url",
    credentials: [options.credentials ?? []].flat(),
    keyOf: options.keyOf ?? (({ headers }) => headers["plinth-key"]),
    log: options.log,
    metrics: options.metrics,
  });
}

/** No attempt begins that would have nothing left after the margin. */
function retryOptionsOf(
  { minAttemptMs = 10, ...given }: RetryOptions,
  { random, marginMs }: { readonly random: (() => number) | undefined; readonly marginMs: number },
): RetryOptions {
  return { random, ...given, minAttemptMs: Math.max(minAttemptMs, marginMs + 1) };
}
