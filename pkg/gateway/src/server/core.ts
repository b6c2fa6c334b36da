import type { Clock, ErrorBus, Tracing } from "@plinth/kernel";
import type { TrustedProxies } from "../headers/origin.ts";
import type { Compressions } from "../compression/compressions.ts";
import type { Limits } from "../limits/limits.ts";
import type { GrpcCalls } from "../protocols/grpc-calls.ts";
import type { WebSockets } from "../protocols/websockets.ts";
import type { Deadlines } from "./deadlines.ts";
import type { Generation } from "./generation.ts";
import type { Observer } from "./observer.ts";
import type { SlowClients } from "./slow-clients.ts";

/** What every exchange works with. */
export interface GatewayCore {
  /** What new requests begin with. */
  readonly generation: Generation;
  readonly observer: Observer;
  readonly deadlines: Deadlines;
  readonly webSockets: WebSockets;
  readonly grpcCalls: GrpcCalls;
  readonly limits: Limits;
  readonly compressions: Compressions;
  readonly slowClients: SlowClients;
  readonly clock: Clock;
  readonly tracing: Tracing;
  readonly errors: ErrorBus;
  readonly maxHeaderLines: number;
  /** Longest pause within a body where the route has none of its own, in milliseconds. */
  readonly bodyGapMs: number;
  /** Who is believed what they say of clients; undefined: nobody. */
  readonly proxies: TrustedProxies | undefined;
  /** How clients come. */
  readonly scheme: "http" | "https";
  /** Value of Strict-Transport-Security; undefined to say nothing. */
  readonly hsts: string | undefined;
  /** Name of this process in Via, unlike any other's. */
  readonly viaName: string;
  /** What this process adds to Via of requests in HTTP/1.1. */
  readonly via: string;
  /** From now on each reply ends its connection. */
  readonly isDraining: boolean;
  /** What is still under way is being broken off. */
  readonly isStopping: boolean;
  /** An exchange has begun or ended. */
  counted(by: 1 | -1): void;
}
