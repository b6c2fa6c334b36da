import { type Clock, OptionError, requireNumber, Secret, systemClock, type Tracing } from "@plinth/kernel";
import type { RegistryEvent } from "../registry.ts";
import { type ConsulAddress, parseConsulAddress } from "./address.ts";
import { type ConsulVariables, consulOptionsFrom, type Environment } from "./environment.ts";
import { ConsulTls } from "./tls.ts";
import { ConsulToken } from "./token.ts";

/** How an agent is trusted, and how it can trust this process. Files are read for new connections, so replaced ones are used without a restart. */
export interface ConsulTlsOptions {
  /** Authorities that are trusted instead of Node's own, in PEM. */
  readonly caFile?: string | undefined;
  /** A folder of such files, which are trusted as well. */
  readonly caPath?: string | undefined;
  /** Certificate to show to the agent, in PEM; with `keyFile`. */
  readonly certFile?: string | undefined;
  /** The key of `certFile`, in PEM, without a pass phrase. */
  readonly keyFile?: string | undefined;
  /** The name to ask for and to find in the agent's certificate, such as `server.dc1.consul`. Default: the host of the address. */
  readonly serverName?: string | undefined;
  /** Whether the agent's certificate is checked. False encrypts to whomever. Default true. */
  readonly verify?: boolean | undefined;
}

/** What happens between this process and the agent, for metrics. */
export type ConsulRequestEvent = Extract<RegistryEvent, { readonly type: "request_begun" | "request_ended" }>;

/**
 * The connection to an agent, the same wherever one is made. What is not given is taken from Consul's own variables, see
 * {@link consulOptionsFrom}: the token with its file, and `tls`, each as a whole.
 */
export interface ConsulConnectionOptions {
  /** The local agent, as `host:port`, `http://host:port`, `https://host:port` or `unix:///path`. Default `http://127.0.0.1:8500`. */
  readonly address?: string | undefined;
  /** ACL token, sent as `X-Consul-Token`. Default none. */
  readonly token?: Secret | string | undefined;
  /** A file that holds the token, instead of `token`. Read for each request, so a token that is replaced is used at once; and after a 403 once more. */
  readonly tokenFile?: string | undefined;
  /** `user:password` for a proxy with Basic authentication in front of the agent. Default none. */
  readonly httpAuth?: Secret | string | undefined;
  /** The datacenter that is read from and whose keys are written. An agent registers in its own. Default: the agent's. */
  readonly datacenter?: string | undefined;
  /** Namespace, of Consul Enterprise; others refuse it. Default: the token's. */
  readonly namespace?: string | undefined;
  /** Admin partition, of Consul Enterprise; others refuse it. Default: the agent's. */
  readonly partition?: string | undefined;
  readonly tls?: ConsulTlsOptions | undefined;
  /** Limit of one request, and of what a blocking one takes beyond its wait, in milliseconds, above 0. Default 3_000. */
  readonly requestTimeoutMs?: number | undefined;
  /** Larger answers are refused, in bytes, 1 or more. Default 16 MiB: some 10_000 instances. */
  readonly maxResponseBytes?: number | undefined;
  /** Default: the system's clock. */
  readonly clock?: Clock | undefined;
  /** Told of each request, synchronously; one that throws ends nothing. Default: nobody. */
  readonly onEvent?: ((event: ConsulRequestEvent) => void) | undefined;
  /** Makes a span of each request that has an end in sight: heartbeats and watches go on for as long as the app does, and have none. Default: none are made. */
  readonly tracing?: Tracing | undefined;
  /** Where Consul's own variables are read from; `{}` for nowhere. Default `process.env`. */
  readonly environment?: Environment | undefined;
}

export const connectionDefaults: {
  readonly [K in "address" | "requestTimeoutMs" | "maxResponseBytes"]: NonNullable<ConsulConnectionOptions[K]>;
} = Object.freeze({
  address: "http://127.0.0.1:8500",
  requestTimeoutMs: 3_000,
  maxResponseBytes: 16 * 1024 * 1024,
});

/** A connection as it will be made: nothing is left to be read or checked but files. */
export interface ResolvedConnection {
  readonly address: ConsulAddress;
  readonly token: ConsulToken;
  /** Text of the `authorization` header. */
  readonly authorization: Secret | undefined;
  readonly tls: ConsulTls;
  /** Query parameters that say in whose name an agent is asked. */
  readonly tenant: Readonly<Record<string, string>>;
  /** The same, with the datacenter. */
  readonly scope: Readonly<Record<string, string>>;
  readonly requestTimeoutMs: number;
  readonly maxResponseBytes: number;
  readonly clock: Clock;
  readonly onEvent: (event: ConsulRequestEvent) => void;
  readonly tracing: Tracing | undefined;
  /** Whether the process waits for requests in flight. */
  readonly keepAlive: boolean;
}

/**
 * @param defaults - What stands for limits that are not given.
 * @throws {@link OptionError} `ERR_OPTION_RANGE`, {@link RegistryError} `ERR_REGISTRY_ADDRESS`: naming the option or the variable.
 */
export function resolveConnection(
  given: ConsulConnectionOptions & { readonly keepAlive?: boolean | undefined },
  defaults: Partial<typeof connectionDefaults> = {},
): ResolvedConnection {
  const { clock = systemClock, onEvent = () => {}, tracing, keepAlive = true, environment } = given;
  const { requestTimeoutMs, maxResponseBytes } = { ...connectionDefaults, ...defaults };
  const limits = {
    requestTimeoutMs: given.requestTimeoutMs ?? requestTimeoutMs,
    maxResponseBytes: given.maxResponseBytes ?? maxResponseBytes,
  };
  requireNumber("requestTimeoutMs", limits.requestTimeoutMs, { min: Number.MIN_VALUE });
  requireNumber("maxResponseBytes", limits.maxResponseBytes, { min: 1 });
  const options = firstOf(given, consulOptionsFrom(environment));
  const address = parseConsulAddress(options.address ?? connectionDefaults.address);
  const isSecure = address.origin.startsWith("https:");
  if (!isSecure && isAsked(given.tls)) {
    throw wrong(`tls is given, but ${address.text} is not reached by TLS; write the address as https://host:port`);
  }
  const tenant = { ...named("ns", options.namespace), ...named("partition", options.partition) };
  return {
    ...limits,
    address,
    token: new ConsulToken(options),
    authorization: authorizationOf(options.httpAuth),
    tls: new ConsulTls(options.tls ?? {}, clock),
    tenant,
    scope: { ...named("dc", options.datacenter), ...tenant },
    clock,
    onEvent,
    tracing,
    keepAlive,
  };
}

/** Of what several say, the first that says something: token and its file go together, and so does all of `tls`. */
export function firstOf(...layers: readonly ConsulVariables[]): ConsulVariables {
  const result: { -readonly [K in keyof ConsulVariables]: ConsulVariables[K] } = {};
  for (const layer of layers) {
    if (result.token === undefined && result.tokenFile === undefined) {
      result.token = layer.token;
      result.tokenFile = layer.tokenFile;
    }
    if (!isAsked(result.tls)) result.tls = layer.tls;
    result.address ??= layer.address;
    result.httpAuth ??= layer.httpAuth;
    result.datacenter ??= layer.datacenter;
    result.namespace ??= layer.namespace;
    result.partition ??= layer.partition;
  }
  return result;
}

function isAsked(tls: ConsulTlsOptions | undefined): boolean {
  return tls !== undefined && Object.values(tls).some((value) => value !== undefined);
}

function named(parameter: string, value: string | undefined): Record<string, string> {
  return value === undefined || value === "" ? {} : { [parameter]: value };
}

function authorizationOf(given: Secret | string | undefined): Secret | undefined {
  if (given === undefined) return undefined;
  const text = typeof given === "string" ? given : given.reveal();
  return new Secret(`Basic ${Buffer.from(text.includes(":") ? text : `${text}:`).toString("base64")}`);
}

function wrong(message: string): OptionError {
  return new OptionError("ERR_OPTION_RANGE", "invalid_argument", message);
}
