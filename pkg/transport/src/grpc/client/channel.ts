import type { RpcChannel } from "../../rpc/client/channel.ts";
import type { GrpcChannelOptions } from "./options.ts";

export type { GrpcChannelOptions } from "./options.ts";

/**
 * Calls methods of all four kinds over gRPC, on one connection. Nothing is connected before the first call. The gRPC library is loaded
 * with the first.
 * @throws OptionError `ERR_OPTION_RANGE`, `ERR_OPTION_TYPE`.
 * @throws TransportError `ERR_TLS_FILE`, `ERR_TLS_CERTIFICATE` for files of `tls` that cannot be used.
 */
export async function createGrpcChannel(options: GrpcChannelOptions): Promise<RpcChannel> {
  const [{ GrpcChannel }, { CallObserver, interceptorsOf }] = await Promise.all([
    import("./driver.ts"),
    import("../client-metrics.ts"),
  ]);
  const { metrics, tracing, peer, clock } = options;
  const observer = new CallObserver({ metrics, tracing, peer, clock });
  return new GrpcChannel(options, observer, await interceptorsOf(observer, clock));
}
