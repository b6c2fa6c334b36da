import { type Clock, OptionError } from "@plinth/kernel";
import type { Registry } from "@plinth/registry";
import { buildConnector, type Dispatcher, Pool } from "undici";
import { UndiciServiceDispatcher } from "../../discovery/undici-dispatcher.ts";
import { clientContextOf, type ClientTls } from "../../tls/client.ts";
import type { ConnectChannelOptions, connectChannelDefaults } from "./connect-options.ts";

/** The options of a channel that have defaults, with these. */
export type Settings = Required<Pick<ConnectChannelOptions, keyof typeof connectChannelDefaults>>;

/** How requests get to the service. */
export interface Way {
  readonly dispatcher: Dispatcher;
  close(): Promise<void>;
}

type Defined<T> = { readonly [K in keyof Required<T>]: T[K] | undefined };
type Told = Defined<Pick<ConnectChannelOptions, "log" | "metrics">> & {
  readonly tls: ClientTls;
  readonly clock: Clock;
};

/** To one address. */
export function poolOf(url: URL, settings: Settings, told: Told & { readonly peer: string }): Way {
  const { tls } = told;
  // another connector for another certificate: it keeps sessions, by which a server would know the one before
  const context = clientContextOf({ ...told, onChange: () => (connect = toConnector()) });
  const toConnector = (): buildConnector.connector =>
    buildConnector({
      timeout: settings.connectTimeoutMs,
      allowH2: false,
      ...context.secure,
      ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
    });
  let connect = toConnector();
  const dispatcher = new Pool(url.origin, {
    connections: settings.maxConnections,
    pipelining: 1,
    allowH2: false,
    // each call has a deadline of its own, which is exact
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: settings.keepAliveMs,
    keepAliveMaxTimeout: settings.keepAliveMs,
    maxHeaderSize: maxHeadBytes,
    connect: (target, done) => connect(target, done),
  });
  return {
    dispatcher,
    close() {
      context.close();
      return dispatcher.destroy();
    },
  };
}

/** To the instances that a registry tells. */
export function instancesOf(
  url: URL,
  { maxConnections, maxPending, connectTimeoutMs, keepAliveMs }: Settings,
  {
    registry,
    service,
    filter,
    log,
    metrics,
    ...told
  }: Told &
    Defined<Pick<ConnectChannelOptions, "filter">> & {
      readonly registry: Pick<Registry, "watch">;
      readonly service: string;
    },
): Way {
  const dispatcher = new UndiciServiceDispatcher({
    ...told,
    ...(log ? { log } : {}),
    ...(metrics ? { metrics } : {}),
    registry,
    services: { [url.hostname]: { service, filter } },
    maxConnections,
    maxPending,
    connectTimeoutMs,
    keepAliveMs,
    headersTimeoutMs: 0,
    bodyTimeoutMs: 0,
    maxHeadBytes,
  });
  return { dispatcher, close: () => dispatcher.destroy() };
}

/** Largest head of a reply. */
const maxHeadBytes = 16_384;

export function parseUrl({ url: given, registry, service, peer, tls }: ConnectChannelOptions): URL {
  if ((given === undefined) === (registry === undefined))
    throw new OptionError("ERR_OPTION_TYPE", "invalid_argument", "give one of url and registry, and not both");
  const url = URL.parse(given ?? `${tls ? "https" : "http"}://${service ?? peer}`);
  if (url && (url.protocol === "http:" || url.protocol === "https:") && !url.search && !url.hash && !url.username)
    return url;
  throw new OptionError(
    "ERR_OPTION_TYPE",
    "invalid_argument",
    given === undefined
      ? "service must be what the host of a URL can be: letters, digits, - and ."
      : "url must be http://host:port or https://host:port, with a path at most",
  );
}
