import type { Clock, ErrorBus, Logger, Metrics, Tracing } from "@plinth/kernel";
import type { Registry } from "@plinth/registry";
import type { SharedTexts } from "@plinth/resilience";
import type { TransportError } from "@plinth/transport";
import type { Revocations } from "@plinth/transport/jwt";
import type { AuthClients } from "./auth/asked-services.ts";
import type { DocumentChanges } from "./config/changes.ts";
import type { GatewayDocument, ParsedDocument } from "./config/schema.ts";
import type { LimitStoreOptions } from "./limits/limit-store.ts";
import type { GatewaySettingsInput } from "./options.ts";
import type { GatewayPlugin, PluginStage } from "./plugins/define.ts";
import type { PreparedDocument } from "./server/generations.ts";
import type { GatewayTeam, TeamState } from "./workers/team.ts";
import type { UpstreamFactory } from "./upstream/upstream.ts";

/** How a gateway is made. */
export interface GatewayOptions {
  /** Routes and what they share. */
  readonly document: GatewayDocument;
  /** Where instances of services are found. It stays the caller's, to be closed after the gateway. */
  readonly registry: Pick<Registry, "follow">;
  /** Port, limits and times; see `gatewaySettings`. Default: every default. */
  readonly settings?: GatewaySettingsInput;
  /** Access log and warnings. Default: none. */
  readonly log?: Logger;
  /** Default: metrics of its own, which nobody sees. */
  readonly metrics?: Metrics;
  /** Default: ids without export. */
  readonly tracing?: Tracing;
  /** Default: an error bus of its own, which nobody hears. */
  readonly errors?: ErrorBus;
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Told when it no longer listens though nobody has drained or closed it: `ERR_LISTEN_LOST`. Default: `errors` is told. */
  readonly onDied?: ((error: TransportError) => void) | undefined;
  /** Where limits are counted that all gateways share. Default: each counts for itself. */
  readonly limitStore?: LimitStoreOptions | undefined;
  /** Where revocations stand that all gateways share. It stays the caller's, to be closed after the gateway. Default: each has its own. */
  readonly revocationStore?: SharedTexts | undefined;
  /** Who is asked about callers, where routes say so. Default: nobody can be. */
  readonly authClients?: AuthClients | undefined;
  /** Layers of the program's own, which the document configures under `plugins`. Default: none. */
  readonly plugins?: readonly GatewayPlugin[] | undefined;
  /** What it shares with other workers of the same gateway. Default: it is the only one. */
  readonly team?: GatewayTeam | undefined;
  /** Makes the HTTP client for an instance. Default: ours. */
  readonly createUpstream?: UpstreamFactory;
}

/** What a gateway goes by. */
export interface GatewayState {
  readonly document: ParsedDocument;
  /** Which document each worker goes by; undefined where there is only this process, or the primary has not told yet. */
  readonly workers: TeamState | undefined;
  /** In the order in which they are asked. */
  readonly plugins: readonly { readonly name: string; readonly stage: PluginStage; readonly order: number }[];
  readonly services: readonly {
    /** With its version behind an `@`, where only instances of that get requests. */
    readonly service: string;
    /** So many instances are out that all get requests. */
    readonly isPanicking: boolean;
    readonly instances: readonly {
      readonly id: string;
      readonly address: string;
      readonly weight: number;
      readonly zone: string | undefined;
      /** Requests under way to it from this process. */
      readonly inFlight: number;
      /** Smoothed, in ms; undefined before anything is known. */
      readonly latencyMs: number | undefined;
      /** It is kept out for now, and why. */
      readonly ejected: boolean;
      readonly ejectedFor: string | undefined;
      /** Routes whose requests a breaker keeps from it, in part or altogether. */
      readonly breakers: readonly {
        readonly route: string;
        readonly state: "open" | "recovering" | "closed";
        readonly retryAfterMs: number;
      }[];
    }[];
  }[];
}

/** An HTTP/1.1 gateway in front of services. */
export interface Gateway {
  readonly host: string;
  /** The port bound; 0 before `listen`. */
  readonly port: number;
  /**
   * Begins to fetch keys and to follow services, waits a moment for the first answers of issuers and registry, and listens.
   * @throws {@link TransportError} `ERR_LISTEN_PORT_BUSY` or `ERR_LISTEN_ADDRESS`; {@link GatewayError} `ERR_GATEWAY_STATE` after `close`.
   */
  listen(options?: { readonly signal?: AbortSignal }): Promise<void>;
  /** From now on each reply ends its connection, while new ones are still served. */
  announceDrain(): void;
  /** Stops accepting and resolves when every request has been answered; what is left when `signal` aborts is cut off. */
  drain(options?: { readonly signal?: AbortSignal }): Promise<void>;
  /** Cuts off whatever is left and closes the connections to instances. Safe to call twice. */
  close(): Promise<void>;
  /**
   * Takes another document in place of the one before, all of it at once. It is built aside, new issuers and services are asked for their
   * first answers, and requests that have begun end as they began; what is the same in both keeps its connections, keys and counts.
   * Calls follow one another. Among workers all of them take it, or none. On any fault everything stays as it was.
   *
   * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` with every fault; {@link GatewayError} `ERR_GATEWAY_STATE` once it drains.
   */
  reload(document: GatewayDocument): Promise<DocumentChanges>;
  /**
   * Does what `reload` does, but for the last step, in this process alone: what it returns is to be committed or discarded, and until
   * then other documents wait. So several gateways take a document all or none.
   * @throws As `reload`.
   */
  prepare(document: unknown): Promise<PreparedDocument>;
  /** What it goes by now: the document with every default, and the instances of each service. */
  describe(): GatewayState;
  /** Names of the token issuers whose keys are not at hand, so that their tokens cannot be checked. */
  providersWithoutKeys(): readonly string[];
  /** Tokens that are refused though they are valid: those of the file that the setting `gateway.revocations` names, and what is added here. */
  readonly revocations: Revocations;
  /** Whether it does not know what other gateways revoke, since the store that they share does not answer. */
  readonly isRevocationStoreDegraded: boolean;
  /** Whether limits go without the store that gateways share, in part or altogether. */
  readonly isLimitStoreDegraded: boolean;
}
