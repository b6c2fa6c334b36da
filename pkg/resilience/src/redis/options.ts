import { readFileSync } from "node:fs";
import { messageOf, OptionError, Secret, type Tracing } from "@plinth/kernel";

export interface RedisTlsOptions {
  /** Authorities to trust instead of Node's own, a file in PEM. */
  readonly caFile?: string | undefined;
  /** Certificate to show to the server, a file in PEM; with `keyFile`. */
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  /** The name that the server's certificate must have. Default: the host of the URL. */
  readonly serverName?: string | undefined;
}

/** Where a Redis is, and how it is reached. */
export interface RedisOptions {
  /** `redis://host:port/database` or `rediss://…` for TLS, with `user:password@` where need be. Of a Cluster several, separated by commas. */
  readonly url: Secret | string;
  /** Whether it is a Redis Cluster. Default false. */
  readonly cluster?: boolean | undefined;
  /** Default: that of the URL. */
  readonly username?: string | undefined;
  /** Default: that of the URL. */
  readonly password?: Secret | string | undefined;
  /** File that holds the password; read for each connection, so that a replaced one is used. */
  readonly passwordFile?: string | undefined;
  /** Only with `rediss://`. */
  readonly tls?: RedisTlsOptions | undefined;
  /** Time to open a connection, in milliseconds, 10 to 60_000; the start waits for it no longer either. Default 1_000. */
  readonly connectTimeoutMs?: number | undefined;
  /** What all keys begin with. Default `plinth`. */
  readonly keyPrefix?: string | undefined;
  /** Default: none are made. */
  readonly tracing?: Tracing | undefined;
}

/** One server of a URL. */
export interface RedisAddress {
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
  readonly database: number;
  readonly username: string | undefined;
  readonly password: string | undefined;
}

/**
 * Takes the URL apart. Nothing of it is in the errors, since it may hold a password.
 * @throws {@link OptionError} `ERR_OPTION_RANGE`
 */
export function addressesOf({ url, cluster = false, tls }: RedisOptions): [RedisAddress, ...RedisAddress[]] {
  const [first, ...rest] = (url instanceof Secret ? url.reveal() : url)
    .split(",")
    .map((part) => addressOf(part.trim()));
  if (!first) throw wrong("url holds no address");
  const all: [RedisAddress, ...RedisAddress[]] = [first, ...rest];
  if (rest.length > 0 && !cluster)
    throw wrong("url holds several addresses, which only a Cluster has; set cluster or keep one");
  if (cluster && all.some(({ database }) => database !== 0))
    throw wrong("url names a database, and a Cluster has only the first");
  if (all.some(({ isTls }) => isTls !== first.isTls)) throw wrong("url holds addresses with TLS and without");
  if (tls && !first.isTls) throw wrong("tls is for rediss://, and url begins with redis://");
  if ((tls?.certFile === undefined) !== (tls?.keyFile === undefined)) {
    throw wrong("tls.certFile and tls.keyFile belong together, and one of them is missing");
  }
  return all;
}

function addressOf(text: string): RedisAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const database = Number(url?.pathname.slice(1) || 0);
  if (!url || !/^rediss?:$/.test(url.protocol) || url.hostname === "" || !Number.isInteger(database)) {
    throw wrong(
      "url must be redis://host:port or rediss://host:port, with the number of a database behind a slash if need be",
    );
  }
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: Number(url.port || 6_379),
    isTls: url.protocol === "rediss:",
    database,
    username: decodeURIComponent(url.username) || undefined,
    password: decodeURIComponent(url.password) || undefined,
  };
}

/** User and password for a new connection. */
export function credentialsOf(options: RedisOptions, address: RedisAddress): { username?: string; password?: string } {
  const { username = address.username, passwordFile } = options;
  const given = options.password ?? address.password;
  const plain = given instanceof Secret ? given.reveal() : given;
  const password = passwordFile === undefined ? plain : readFile("passwordFile", passwordFile).trim();
  return { ...(username === undefined ? {} : { username }), ...(password === undefined ? {} : { password }) };
}

/** What of a connection is TLS. The server's certificate is always checked. */
export function tlsOf({ tls }: RedisOptions): { ca?: string; cert?: string; key?: string; servername?: string } {
  const { caFile, certFile, keyFile, serverName } = tls ?? {};
  return {
    ...(caFile === undefined ? {} : { ca: readFile("tls.caFile", caFile) }),
    ...(certFile === undefined ? {} : { cert: readFile("tls.certFile", certFile) }),
    ...(keyFile === undefined ? {} : { key: readFile("tls.keyFile", keyFile) }),
    ...(serverName === undefined ? {} : { servername: serverName }),
  };
}

function readFile(option: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw wrong(`${option} cannot be read: ${messageOf(cause)}`, cause);
  }
}

function wrong(problem: string, cause?: unknown): OptionError {
  return new OptionError("ERR_OPTION_RANGE", "invalid_argument", problem, { cause });
}
