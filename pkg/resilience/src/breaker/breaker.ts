import { type Clock, requireNumber, requireWhole, systemClock } from "@plinth/kernel";
import { StallGuard } from "../stall-guard.ts";
import { type CircuitRules, OwnCircuit } from "./circuit.ts";

export interface BreakerOptions {
  /** Share of calls that must fail within the window, above 0 to 1. Default 0.5. */
  readonly errorRatio?: number | undefined;
  /** Fewer calls than this within the window say nothing: 1 or more. Default 20. */
  readonly minCalls?: number | undefined;
  /** How long a call counts, in milliseconds from 10. Default 10_000. */
  readonly windowMs?: number | undefined;
  /** How long nothing goes through the first time, in milliseconds; doubles each time that recovery fails. Default 2_000. */
  readonly openMs?: number | undefined;
  /** It is never shut for longer, in milliseconds. Default 60_000. */
  readonly maxOpenMs?: number | undefined;
  /** How long it takes from the first call through to all of them, in milliseconds from 0. Default 10_000. */
  readonly recoveryMs?: number | undefined;
  /** Circuits kept, 1 to 1_000_000; beyond that those that know least are forgotten. Default 10_000. */
  readonly maxCircuits?: number | undefined;
  /** Default: the system's. Only its monotonic time is read. */
  readonly clock?: Clock | undefined;
}

/**
 * - `closed`: every call goes through
 * - `open`: none does
 * - `recovering`: a share does that grows evenly with time from one call to all
 */
export type CircuitState = "closed" | "open" | "recovering";

/** The breaker of one operation at one instance. Keep it for the length of a call, not longer: it may be forgotten. */
export interface Circuit {
  readonly instance: string;
  readonly operation: string;
  readonly state: CircuitState;
  /** Calls within the window, and those of them that failed. */
  readonly calls: number;
  readonly failures: number;
  /** How long until calls go through again, in whole milliseconds; 0 unless it is open. */
  readonly retryAfterMs: number;
  /** Whether a call may go. Ask once for each. */
  allow(): boolean;
  /**
   * How the call ended. What says nothing of the instance, as when the caller has left, is not told.
   * @param ok - False for what the instance is to blame for: lost connections, timeouts, `internal`, `unavailable`, not the caller's mistakes.
   * @param elapsedMs - Since it was allowed. Failures that a standstill of our own process explains count once together.
   */
  record(ok: boolean, elapsedMs: number): void;
}

/** Circuits by instance and operation. */
export interface Breaker {
  /** The circuit of `operation` at `instance`, made if need be. No allocation when it is there. */
  circuit(instance: string, operation: string): Circuit;
  /** Forgets an instance that has left. */
  forget(instance: string): void;
  /** Circuits kept now. */
  readonly size: number;
  /** Circuits forgotten since there were too many. */
  readonly forgotten: number;
  /** Those that are not closed, for who describes the client. */
  tripped(): readonly Circuit[];
}

/** Of the circuits that are forgotten at one time when there are too many. */
const forgottenShare = 0.1;

/**
 * A breaker for each instance and operation: calls of which too many fail are no longer sent for a while, and then, instead of
 * one probe that decides for all, a share that grows evenly.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option that is out of range.
 * @see Nygard, Release It!, stability patterns; gradual recovery as in Traefik: https://doc.traefik.io/traefik/middlewares/http/circuitbreaker/
 * @example
 * const circuit = breaker.circuit(instance.id, "GetUser");
 * if (!circuit.allow()) tryAnother();
 * circuit.record(await succeeds(call), elapsedMs);
 */
export function createBreaker(options: BreakerOptions = {}): Breaker {
  const { errorRatio = 0.5, minCalls = 20, windowMs = 10_000, clock = systemClock } = options;
  const { openMs = 2_000, maxOpenMs = 60_000, recoveryMs = 10_000, maxCircuits = 10_000 } = options;
  requireNumber("errorRatio", errorRatio, { min: Number.MIN_VALUE, max: 1 });
  requireWhole("minCalls", minCalls, { min: 1 });
  requireNumber("windowMs", windowMs, { min: 10, max: 3_600_000 });
  requireNumber("openMs", openMs, { min: 1 });
  requireNumber("maxOpenMs", maxOpenMs, { min: openMs });
  requireNumber("recoveryMs", recoveryMs, { min: 0 });
  requireWhole("maxCircuits", maxCircuits, { min: 1, max: 1_000_000 });
  const limits = { errorRatio, minCalls, windowMs, openMs, maxOpenMs, recoveryMs };
  return new CircuitTable({ ...limits, clock, stalls: new StallGuard() }, maxCircuits);
}

class CircuitTable implements Breaker {
  readonly #rules: CircuitRules;
  readonly #maxCircuits: number;
  /** By instance, by operation; those made first come first. */
  readonly #instances = new Map<string, Map<string, OwnCircuit>>();
  size = 0;
  forgotten = 0;

  constructor(rules: CircuitRules, maxCircuits: number) {
    this.#rules = rules;
    this.#maxCircuits = maxCircuits;
  }

  circuit(instance: string, operation: string): Circuit {
    return this.#instances.get(instance)?.get(operation) ?? this.#make(instance, operation);
  }

  forget(instance: string): void {
    this.size -= this.#instances.get(instance)?.size ?? 0;
    this.#instances.delete(instance);
  }

  tripped(): readonly Circuit[] {
    return this.#all().filter(({ state }) => state !== "closed");
  }

  #make(instance: string, operation: string): Circuit {
    if (this.size >= this.#maxCircuits) this.#makeRoom();
    const circuit = new OwnCircuit(instance, operation, this.#rules);
    const operations = this.#instances.get(instance);
    if (operations) operations.set(operation, circuit);
    else this.#instances.set(instance, new Map([[operation, circuit]]));
    this.size++;
    return circuit;
  }

  /** Those that count nothing go first, for they are as good as new; then closed ones, then the rest. A tenth goes at once, so that it is seldom. */
  #makeRoom(): void {
    const wanted = Math.max(1, Math.floor(this.#maxCircuits * forgottenShare));
    const byWorth = this.#all().toSorted((a, b) => worth(a) - worth(b));
    for (const { instance, operation } of byWorth.slice(0, wanted)) {
      const operations = this.#instances.get(instance);
      operations?.delete(operation);
      if (operations?.size === 0) this.#instances.delete(instance);
      this.size--;
      this.forgotten++;
    }
  }

  #all(): OwnCircuit[] {
    return [...this.#instances.values()].flatMap((operations) => [...operations.values()]);
  }
}

function worth({ state, calls }: Circuit): number {
  if (state !== "closed") return 2;
  return calls === 0 ? 0 : 1;
}
