import type { RpcChannel } from "../rpc/client/channel.ts";

/** What a server says of itself, or of one of its services. */
export type GrpcHealth = "serving" | "not_serving" | "service_unknown" | "unknown";

export interface CheckGrpcHealthOptions {
  /** The service that is asked about, `package.Service`. Default: the server as a whole. */
  readonly of?: string;
  /** How long the call may take, in milliseconds. Default 3_000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * Asks a gRPC server, whoever made it, how it is.
 * @throws {@link RpcError} what a call fails with: `ERR_NO_INSTANCE`, `ERR_RPC_UNAVAILABLE`; one with status `not_found` for a service that it does not have.
 * @see https://github.com/grpc/grpc/blob/master/doc/health-checking.md
 */
export async function checkGrpcHealth(channel: RpcChannel, options: CheckGrpcHealthOptions = {}): Promise<GrpcHealth> {
  const { of: service = "", timeoutMs = 3_000, signal } = options;
  const [{ createRpcClient }, { Health, HealthCheckResponse_ServingStatus: states }] = await Promise.all([
    import("../rpc/client/client.ts"),
    import("../gen/grpc/health/v1/health_pb.ts"),
  ]);
  const client = createRpcClient(Health, { channel });
  const { status } = await client.check({ service }, { timeoutMs, ...(signal ? { signal } : {}) });
  const words: Partial<Record<number, GrpcHealth>> = {
    [states.SERVING]: "serving",
    [states.NOT_SERVING]: "not_serving",
    [states.SERVICE_UNKNOWN]: "service_unknown",
  };
  return words[status] ?? "unknown";
}
