import type { Issuer } from "@plinth/transport/jwt";
import type { Authenticator } from "../auth/authenticator.ts";
import type { ParsedDocument } from "../config/schema.ts";
import type { RouteTable } from "../router/route-table.ts";
import type { ServicePool } from "../upstream/service-pool.ts";
import type { AccessLogRules } from "./access-log.ts";
import type { OpenPlugins } from "../plugins/open-plugins.ts";
import type { Contracts } from "../transcoding/contracts.ts";
import type { Edge } from "./edge.ts";
import type { PlannedCaps } from "../limits/concurrency.ts";
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
  readonly caps: PlannedCaps;
  /** Undefined: every request has a line, with the usual fields. */
  readonly accessLog: AccessLogRules | undefined;
  /** Undefined where the gateway has none. */
  readonly plugins: OpenPlugins | undefined;
  readonly contracts: Contracts;
}

/** One document at work: a request stays with the one that it began with when the next takes over. */
export interface Generation extends GenerationParts {
  readonly use: GenerationUse;
}

/** The requests that go by one document. */
export class GenerationUse {
  inFlight = 0;
  #onUnused: (() => void) | undefined;

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
