import { OptionError, Secret } from "@plinth/kernel";
import { parseConsulAddress } from "./address.ts";
import type { ConsulConnectionOptions, ConsulTlsOptions } from "./connection.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** What variables can say of a connection. */
export type ConsulVariables = Pick<
  ConsulConnectionOptions,
  "address" | "token" | "tokenFile" | "httpAuth" | "datacenter" | "namespace" | "partition" | "tls"
>;

const defaultAddress = "127.0.0.1:8500";

/**
 * What the variables of Consul's own tools say: `CONSUL_HTTP_ADDR`, `_HTTP_TOKEN`, `_HTTP_TOKEN_FILE` (before the token),
 * `_HTTP_AUTH`, `_HTTP_SSL`, `_HTTP_SSL_VERIFY`, `_CACERT`, `_CAPATH`, `_CLIENT_CERT`, `_CLIENT_KEY`, `_TLS_SERVER_NAME`, `_NAMESPACE`
 * and `_PARTITION`. An empty one is not set. Those of gRPC (`CONSUL_GRPC_ADDR`, `_GRPC_CACERT`, `_GRPC_CAPATH`) are for Envoy's side of an
 * agent, which nothing here speaks to.
 *
 * @param environment - Default `process.env`.
 * @throws {@link RegistryError} `ERR_REGISTRY_ADDRESS`, {@link OptionError} `ERR_OPTION_RANGE`; the message begins with the variable's name.
 * @see https://developer.hashicorp.com/consul/commands#environment-variables
 */
export function consulOptionsFrom(environment: Environment = process.env): ConsulVariables {
  const of = reader(environment, "CONSUL_");
  const ssl = of.flag("HTTP_SSL");
  const address = of.text("HTTP_ADDR");
  const tokenFile = of.text("HTTP_TOKEN_FILE");
  return compact({
    address:
      address === undefined && ssl !== true
        ? undefined
        : parseConsulAddress(address ?? defaultAddress, {
            tls: ssl === true,
            name:
              ssl === true && address?.startsWith("unix:")
                ? "CONSUL_HTTP_SSL with CONSUL_HTTP_ADDR"
                : "CONSUL_HTTP_ADDR",
          }).text,
    tokenFile,
    token: tokenFile === undefined ? of.secret("HTTP_TOKEN") : undefined,
    httpAuth: of.secret("HTTP_AUTH"),
    namespace: of.text("NAMESPACE"),
    partition: of.text("PARTITION"),
    tls: of.tls({
      caFile: "CACERT",
      caPath: "CAPATH",
      certFile: "CLIENT_CERT",
      keyFile: "CLIENT_KEY",
      serverName: "TLS_SERVER_NAME",
      verify: "HTTP_SSL_VERIFY",
    }),
  });
}

/**
 * What the settings' own variables say, for what connects before there are settings: `PLINTH_CONSUL_ADDR`, `_TOKEN` (also as
 * `file:/path`), `_TOKEN_FILE`, `_HTTP_AUTH`, `_DATACENTER`, `_NAMESPACE`, `_PARTITION` and `_TLS_…`.
 * @throws As {@link consulOptionsFrom}.
 */
export function plinthOptionsFrom(environment: Environment): ConsulVariables {
  const of = reader(environment, "PLINTH_CONSUL_");
  const address = of.text("ADDR");
  const token = of.secret("TOKEN");
  const inFile = token?.reveal().startsWith("file:") === true ? token.reveal().slice("file:".length) : undefined;
  return compact({
    address: address && parseConsulAddress(address, { name: "PLINTH_CONSUL_ADDR" }).text,
    token: inFile === undefined ? token : undefined,
    tokenFile: of.text("TOKEN_FILE") ?? inFile,
    httpAuth: of.secret("HTTP_AUTH"),
    datacenter: of.text("DATACENTER"),
    namespace: of.text("NAMESPACE"),
    partition: of.text("PARTITION"),
    tls: of.tls({
      caFile: "TLS_CA_FILE",
      caPath: "TLS_CA_PATH",
      certFile: "TLS_CERT_FILE",
      keyFile: "TLS_KEY_FILE",
      serverName: "TLS_SERVER_NAME",
      verify: "TLS_VERIFY",
    }),
  });
}

function reader(environment: Environment, prefix: string) {
  const text = (name: string): string | undefined => environment[prefix + name] || undefined;
  const secret = (name: string): Secret | undefined => {
    const value = text(name);
    return value === undefined ? undefined : new Secret(value);
  };
  const flag = (name: string): boolean | undefined => {
    const value = text(name);
    if (value === undefined) return undefined;
    const read = flags.get(value.toLowerCase());
    if (read === undefined)
      throw wrong(prefix + name, `must be true or false, not ${JSON.stringify(value.slice(0, 100))}`);
    return read;
  };
  const tls = (names: Readonly<Record<keyof ConsulTlsOptions, string>>): ConsulTlsOptions | undefined => {
    const found = compact({
      caFile: text(names.caFile),
      caPath: text(names.caPath),
      certFile: text(names.certFile),
      keyFile: text(names.keyFile),
      serverName: text(names.serverName),
      verify: flag(names.verify),
    });
    if ((found.certFile === undefined) !== (found.keyFile === undefined)) {
      const [given, missing] =
        found.certFile === undefined ? [names.keyFile, names.certFile] : [names.certFile, names.keyFile];
      throw wrong(prefix + given, `needs ${prefix}${missing} beside it: a certificate and its key belong together`);
    }
    return Object.keys(found).length === 0 ? undefined : found;
  };
  return { text, secret, flag, tls };
}

/** What Go's ParseBool takes, which Consul reads them by. */
const flags: ReadonlyMap<string, boolean> = new Map([
  ["1", true],
  ["t", true],
  ["true", true],
  ["0", false],
  ["f", false],
  ["false", false],
]);

function wrong(name: string, why: string): OptionError {
  return new OptionError("ERR_OPTION_RANGE", "invalid_argument", `${name} ${why}`);
}

/** Without what is undefined. */
function compact<T extends object>(given: T): T {
  const result = { ...given };
  for (const key in result) if (result[key] === undefined) delete result[key];
  return result;
}
