import type { Clock, Logger, Metrics } from "@plinth/kernel";
import type { StoreGate } from "@plinth/resilience";
import { RouteCaps } from "./concurrency.ts";
import { LimitCounts } from "./limit-counts.ts";
import { type LimitStoreOptions, openGate } from "./limit-store.ts";
import { Shedder } from "./shedder.ts";

export interface LimitsOptions {
  readonly limitStore: LimitStoreOptions | undefined;
  readonly maxLoopDelayMs: number;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Logger | undefined;
}

/** What of limits outlives a document. */
export class Limits {
  readonly gate: StoreGate | undefined;
  readonly gateways: () => number;
  readonly counts: LimitCounts;
  readonly caps: RouteCaps;
  readonly shedder: Shedder;

  constructor({ limitStore, maxLoopDelayMs, clock, metrics, log }: LimitsOptions) {
    this.gate = limitStore && openGate(limitStore, clock, log);
    this.gateways = limitStore?.gateways ?? (() => 1);
    this.counts = new LimitCounts(metrics, this.gate);
    this.caps = new RouteCaps(clock, metrics);
    this.shedder = new Shedder(maxLoopDelayMs, clock);
  }
}
