import type { Issuer } from "@plinth/transport/jwt";
import type { Authenticator } from "../auth/authenticator.ts";
import type { ParsedDocument } from "../config/schema.ts";
import type { RouteTable } from "../router/route-table.ts";
import type { ServicePool } from "../upstream/service-pool.ts";
import type { Edge } from "./edge.ts";
import type { LimitPolicy } from "../limits/policy.ts";
import type { Route } from "./route.ts";

/** All that comes from one document. */
export interface GenerationParts {
  /** Asked before any route is looked for, and said where none is found. */
  readonly edge: Edge | undefined;
  readonly document: ParsedDocument;
  readonly table: RouteTable<Route>;
  readonly issuers: readonly Issuer[];
  readonly authenticator: Authenticator;
  /** By the name of the service. */
  readonly pools: ReadonlyMap<string, ServicePool>;
  readonly limits: readonly LimitPolicy[];
}

/** One document at work: a request stays with the one that it began with when the next takes over. */
export class Generation implements GenerationParts {
  readonly edge: Edge | undefined;
  readonly document: ParsedDocument;
  readonly table: RouteTable<Route>;
  readonly issuers: readonly Issuer[];
  readonly authenticator: Authenticator;
  readonly pools: ReadonlyMap<string, ServicePool>;
  readonly limits: readonly LimitPolicy[];
  inFlight = 0;
  #onUnused: (() => void) | undefined;

  constructor(parts: GenerationParts) {
    this.document = parts.document;
    this.edge = parts.edge;
    this.table = parts.table;
    this.issuers = parts.issuers;
    this.authenticator = parts.authenticator;
    this.pools = parts.pools;
    this.limits = parts.limits;
  }

  /** A request has begun with it, or ended. */
  counted(by: 1 | -1): void {
    this.inFlight += by;
    if (this.inFlight === 0) this.#tellUnused();
  }

  /** No request begins with it any more. Calls `onUnused` once, when the last one has ended; at once when there is none. */
  supersede(onUnused: () => void): void {
    this.#onUnused = onUnused;
    if (this.inFlight === 0) this.#tellUnused();
  }

  #tellUnused(): void {
    const tell = this.#onUnused;
    this.#onUnused = undefined;
    tell?.();
  }
}
