import type { CircuitState, EjectReason } from "@plinth/resilience";
import type { ServiceTransport } from "./options.ts";

/** One instance as a channel sees it. */
export interface InstanceDescription {
  readonly id: string;
  /** `host:port`. */
  readonly address: string;
  readonly zone: string | undefined;
  /** Share of the traffic relative to its peers. */
  readonly weight: number;
  /** Attempts under way there. */
  readonly inFlight: number;
  /** What it lets us wait, smoothed, in milliseconds; undefined before anything is known. */
  readonly latencyMs: number | undefined;
  /**
   * - `ready`: it is called like any other
   * - `ejected`: it failed where others did not, and is left out for a while
   * - `misdirected`: another has its address; left out until the registry tells other instances
   */
  readonly state: "ready" | "ejected" | "misdirected";
  /** Why, where it is ejected. */
  readonly ejectedFor: EjectReason | undefined;
}

/** One method at one instance that is not called as usual. */
export interface CircuitDescription {
  readonly instance: string;
  readonly method: string;
  readonly state: CircuitState;
  /** Calls within the window, and those of them that failed. */
  readonly calls: number;
  readonly failures: number;
  /** How long until calls go through again, in whole milliseconds; 0 unless it is open. */
  readonly retryAfterMs: number;
}

/** What a channel knows and does at one moment. */
export interface ChannelDescription {
  readonly service: string;
  readonly transport: ServiceTransport;
  readonly foundBy: "registry" | "addresses" | "url" | "process";
  /** Whether it is known who serves, be it nobody. */
  readonly isKnown: boolean;
  readonly isClosed: boolean;
  readonly instances: readonly InstanceDescription[];
  /** So many are ejected that the rest could not bear the load: ejected ones are called too. */
  readonly isPanicking: boolean;
  /** Those that are not closed. */
  readonly circuits: readonly CircuitDescription[];
  /** Retries and hedges; undefined where there are none. */
  readonly budget: BudgetDescription | undefined;
  /** Calls under way, those that wait for a place, and those refused since the start. */
  readonly calls: { readonly inFlight: number; readonly waiting: number; readonly refused: number };
}

export interface BudgetDescription {
  readonly ratio: number;
  /** Calls within the window now. */
  readonly requests: number;
  /** Retries and hedges within the window now. */
  readonly retries: number;
  /** How many more could be had now. */
  readonly available: number;
  /** Asked for and not given, since the start. */
  readonly refused: number;
}
