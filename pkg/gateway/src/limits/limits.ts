import type { Clock, Logger, Metrics } from "@plinth/kernel";
import type { StoreGate } from "@plinth/resilience";
import type { GatewayTeam } from "../workers/team.ts";
import { RouteCaps } from "./concurrency.ts";
import { LimitCounts } from "./limit-counts.ts";
import { type LimitStoreOptions, openGate } from "./limit-store.ts";
import { Shedder } from "./shedder.ts";

export interface LimitsOptions {
  /** The other workers of this gateway. Default: there are none. */
  readonly team?: GatewayTeam | undefined;
  readonly limitStore: LimitStoreOptions | undefined;
  readonly maxLoopDelayMs: number;
  readonly maxHeapRatio: number;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Logger | undefined;
}

/** What of limits outlives a document. */
export class Limits {
  readonly gate: StoreGate | undefined;
  /** The way to where the workers of this gateway count together what it does not share with others. */
  readonly teamGate: StoreGate | undefined;
  /** Processes that share what all gateways share. */
  readonly gateways: () => number;
  /** Those of this gateway. */
  readonly workers: () => number;
  readonly counts: LimitCounts;
  readonly caps: RouteCaps;
  readonly shedder: Shedder;

  constructor({ team, limitStore, maxLoopDelayMs, maxHeapRatio, clock, metrics, log }: LimitsOptions) {
    this.gate = limitStore && openGate(limitStore, clock, log);
    this.teamGate = team && openGate({ store: team.rates }, clock, log);
    const { count: workers = 1 } = team ?? {};
    const gateways = limitStore?.gateways ?? (() => 1);
    this.gateways = () => gateways() * workers;
    this.workers = () => workers;
    const gates = [this.gate, this.teamGate].filter((gate) => gate !== undefined);
    this.counts = new LimitCounts(metrics, gates);
    this.caps = new RouteCaps(clock, metrics, team);
    this.shedder = new Shedder({ maxLoopDelayMs, maxHeapRatio, clock, log });
  }

  /** Whether limits go without a store that they should be counted in, in part or altogether. */
  get isStoreDegraded(): boolean {
    return this.gate?.isDegraded === true || this.teamGate?.isDegraded === true;
  }
}
