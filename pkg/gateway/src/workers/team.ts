import type { ConcurrencyCap, RateStore } from "@plinth/resilience";
import type { Revocations } from "@plinth/transport/jwt";
import type { DocumentChanges } from "../config/changes.ts";
import type { ParsedDocument } from "../config/schema.ts";

/** Which document each worker goes by. */
export interface TeamState {
  /** One more with each document that all have taken; the first is 1. */
  readonly generation: number;
  /** Workers that there are to be. */
  readonly configured: number;
  /** Whether all of them have been ready at one time. */
  readonly wasWhole: boolean;
  readonly workers: readonly {
    readonly worker: number;
    readonly pid?: number | undefined;
    /** 0 before it has one. */
    readonly generation: number;
    readonly isReady: boolean;
  }[];
}

/** Places of one route. */
export interface PlacesOptions {
  readonly maxInFlight: number;
  readonly maxQueue?: number | undefined;
  readonly maxWaitMs?: number | undefined;
}

/** What a gateway shares with the other workers of its primary. */
export interface GatewayTeam {
  /** Workers that there are to be. */
  readonly count: number;
  readonly state: TeamState | undefined;
  /** Counts in the primary. */
  readonly rates: RateStore;
  readonly revocations: Revocations;
  /** A cap whose places all workers have together. */
  capOf(route: string, options: PlacesOptions): ConcurrencyCap & { close(): void };
  /** Has all workers take it, or none. @throws What the first that cannot says. */
  reload(document: ParsedDocument): Promise<DocumentChanges>;
}

/** What workers and primary talk of, each on a channel of its own. */
export const channels = {
  document: "gateway.document",
  rates: "gateway.rates",
  places: "gateway.places",
  revocations: "gateway.revocations",
  instances: "gateway.instances",
} as const;

/** The parts of a list of that length; none of anything else. */
export function partsOf(data: unknown, length: number): readonly unknown[] {
  return Array.isArray(data) && data.length === length ? data : [];
}
