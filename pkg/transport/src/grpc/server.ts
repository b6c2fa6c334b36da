import type { Health } from "@plinth/kernel";
import type { TransportError } from "../errors.ts";
import type { RpcService } from "../rpc/service.ts";
import type { CallOptions } from "./calls.ts";

export interface GrpcServerOptions extends CallOptions {
  readonly services: readonly RpcService[];
  readonly health: Health;
  /**
   * Told once when the server no longer listens though neither `drain` nor `close` was called: `ERR_LISTEN_LOST`.
   * Default: the error bus is told.
   */
  readonly onDied?: ((error: TransportError) => void) | undefined;
}

export interface GrpcServer {
  readonly host: string;
  /** The port bound; 0 before `listen`. */
  readonly port: number;
  /** @throws {@link TransportError} `ERR_LISTEN_PORT_BUSY`, `ERR_LISTEN_ADDRESS`. */
  listen(): Promise<void>;
  /** GOAWAY, then resolves when the last call has ended; calls still running when `signal` aborts are cut off. */
  drain(options: { readonly signal: AbortSignal }): Promise<void>;
  /** Cuts off whatever is left. Safe to call twice. */
  close(): Promise<void>;
}

/**
 * A gRPC server with recovery, trace, log context, metrics, deadlines and `grpc.health.v1`.
 * The gRPC library is loaded with the first: an app without such a server starts without it.
 */
export async function createGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const { openGrpcServer } = await import("./driver.ts");
  return openGrpcServer(options);
}
