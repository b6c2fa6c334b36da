import { type ClientTls, createConnectChannel, createGrpcChannel, type RpcChannel } from "@plinth/transport";
import { compact } from "../convert.ts";
import type { BalancedChannelOptions } from "./options.ts";
import { parseUrl } from "./targets.ts";

/** More than are ever under way: the channel over these channels has the limit. */
const maxPending = 1_000_000;

/** Makes the channel to the instance at an address. Nothing is connected before its first call. */
export function lineOpener(options: BalancedChannelOptions): (address: string) => Promise<RpcChannel> {
  const { service: peer, find, transport = "grpc", clock, metrics, tracing, log } = options;
  const { maxReplyBytes, maxRequestBytes, gzipFromBytes, codec, compression: acceptGzip } = options;
  const at = "url" in find ? parseUrl(find.url, transport) : undefined;
  const given = options.tls ?? (at?.isSecure === true ? {} : undefined);
  // instances are found by their address, but a certificate is of the service's name
  const tls: ClientTls | undefined =
    given && "registry" in find && given.serverName === undefined ? { ...given, serverName: peer } : given;
  const common = {
    peer,
    maxPending,
    ...present({ tls, clock, metrics, tracing, log, maxReplyBytes, maxRequestBytes, gzipFromBytes }),
  };
  if (transport === "grpc") return (address) => createGrpcChannel({ ...common, address });
  const web = { ...common, ...present({ codec, acceptGzip }) };
  return (address) => createConnectChannel({ ...web, url: `${tls ? "https" : "http"}://${address}${at?.path ?? ""}` });
}

type Present<T> = { readonly [K in keyof T]?: Exclude<T[K], undefined> };

/** What of it is there. */
function present<T extends object>(value: T): Present<T> {
  const rest = compact({ ...value });
  return isPresent(rest) ? rest : {};
}

function isPresent<T extends object>(value: T): value is T & Present<T> {
  return !Object.values(value).includes(undefined);
}
