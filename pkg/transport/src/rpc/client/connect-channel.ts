import type { RpcChannel } from "./channel.ts";
import type { ConnectChannelOptions } from "./connect-options.ts";

export type { ClientTls } from "../../tls/client.ts";
export type { ConnectChannelOptions } from "./connect-options.ts";

/**
 * Calls methods with one request over HTTP/1.1 by the Connect protocol, on a pool of connections of its own: those with one reply, and those
 * with a stream of them, which is read no faster than it is asked for. Nothing is connected before the first call.
 * The HTTP client is loaded with the first.
 * @throws OptionError `ERR_OPTION_RANGE`, `ERR_OPTION_TYPE`.
 * @throws TransportError `ERR_TLS_FILE`, `ERR_TLS_CERTIFICATE` for files of `tls` that cannot be used.
 * @see https://connectrpc.com/docs/protocol
 */
export async function createConnectChannel(options: ConnectChannelOptions): Promise<RpcChannel> {
  const { ConnectChannel } = await import("./connect-driver.ts");
  return new ConnectChannel(options);
}
