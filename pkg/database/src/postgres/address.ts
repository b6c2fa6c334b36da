import { OptionError } from "@plinth/kernel";
import { Client } from "pg";

/** One server of a list, as it is reached. A host that begins with a slash is a folder of Unix sockets. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Where a database is, without what opens it. Of several hosts the first. */
export interface ServerAddress extends HostPort {
  readonly database: string;
}

/** How the server's identity is checked; `verify-ca` leaves its name out, and only a URL can ask for it. */
export type UrlTlsMode = "verify-full" | "verify-ca" | "unverified" | "off";

/** What a URL says, read as libpq reads it. */
export interface DatabaseUrl {
  /** At least one. */
  readonly hosts: readonly [HostPort, ...HostPort[]];
  readonly database: string;
  readonly user: string;
  readonly password: string | undefined;
  readonly applicationName: string | undefined;
  /** Command-line options for the session: `-c name=value`. */
  readonly options: string | undefined;
  /** From `target_session_attrs`; undefined when it says nothing. */
  readonly wants: "writable" | "any" | undefined;
  readonly tlsMode: UrlTlsMode | undefined;
  readonly caFile: string | undefined;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
}

const parameterNames = [
  "application_name",
  "dbname",
  "host",
  "options",
  "password",
  "port",
  "sslcert",
  "sslkey",
  "sslmode",
  "sslrootcert",
  "target_session_attrs",
  "user",
] as const;
type ParameterName = (typeof parameterNames)[number];

/** What libpq knows by a parameter, and Plinth by a setting. */
const settingInstead: Readonly<Record<string, string>> = {
  connect_timeout: "connectTimeoutMs",
  statement_timeout: "statementTimeoutMs",
  idle_in_transaction_session_timeout: "idleInTransactionTimeoutMs",
  passfile: "passwordFile",
};

const tlsModes: Readonly<Record<string, UrlTlsMode>> = {
  disable: "off",
  require: "unverified",
  "no-verify": "unverified",
  "verify-ca": "verify-ca",
  "verify-full": "verify-full",
};

const sessionAttributes: Readonly<Record<string, "writable" | "any">> = {
  any: "any",
  "read-write": "writable",
  primary: "writable",
};

/**
 * Reads `postgres://user:password@a:5432,b:5433/database?sslmode=verify-full`. Nothing is connected.
 *
 * @throws {@link OptionError} `ERR_OPTION_TYPE`, without the URL, which may hold a password.
 * @see https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
 */
export function parseDatabaseUrl(url: string): DatabaseUrl {
  const match = /^postgres(?:ql)?:\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(url);
  if (!match) throw malformed();
  const [, authority = "", path = "", query = ""] = match;
  const at = authority.lastIndexOf("@");
  const [rawUser = "", ...rawPassword] = at < 0 ? [] : authority.slice(0, at).split(":");
  // a password with a raw / or ? ends the authority early: what follows is no database, and must not be told as one
  if (path.includes("@")) throw malformed();
  const given = parametersOf(query);

  const user = (given.user ?? decode(rawUser)) || (new Client({}).user ?? "");
  const password = given.password ?? (rawPassword.length === 0 ? undefined : decode(rawPassword.join(":")));
  const { sslmode, sslrootcert } = given;
  const tlsMode = sslmode === undefined ? undefined : chosen("sslmode", sslmode, tlsModes);
  return {
    hosts: hostsOf(authority.slice(at + 1), given),
    database: (given.dbname ?? decode(path)) || user,
    user,
    password: password === "" ? undefined : password,
    applicationName: given.application_name,
    options: given.options,
    wants:
      given.target_session_attrs === undefined
        ? undefined
        : chosen("target_session_attrs", given.target_session_attrs, sessionAttributes),
    // as libpq has it: who names the authority means it to be looked at
    tlsMode: sslmode === "require" && sslrootcert !== undefined ? "verify-ca" : tlsMode,
    caFile: sslrootcert,
    certFile: given.sslcert,
    keyFile: given.sslkey,
  };
}

function parametersOf(query: string): Partial<Record<ParameterName, string>> {
  const given: Partial<Record<ParameterName, string>> = {};
  for (const [name, value] of new URLSearchParams(query)) {
    const known = parameterNames.find((parameter) => parameter === name);
    if (known === undefined && !/^\w{1,40}$/.test(name)) throw malformed();
    if (known === undefined) throw refused(`has the parameter ${quoted(name)}, which ${adviceOn(name)}`);
    if (value !== "") given[known] = value;
  }
  return given;
}

function adviceOn(name: string): string {
  const setting = Object.hasOwn(settingInstead, name) ? settingInstead[name] : undefined;
  return setting === undefined
    ? `is not known here; known are ${parameterNames.join(", ")}`
    : `is the setting ${setting} here; take it out of the URL`;
}

function chosen<T>(parameter: string, value: string, known: Readonly<Record<string, T>>): T {
  const meaning = Object.hasOwn(known, value) ? known[value] : undefined;
  if (meaning !== undefined) return meaning;
  const names = Object.keys(known).join(", ");
  throw refused(`has ${parameter}=${quoted(value)}, which is not taken here; expected one of ${names}`);
}

function hostsOf(authority: string, given: Partial<Record<ParameterName, string>>): DatabaseUrl["hosts"] {
  const ports = given.port?.split(",") ?? [];
  const texts = (given.host ?? authority).split(",");
  if (ports.length > 1 && ports.length !== texts.length) {
    throw refused(`names ${texts.length} hosts and ${ports.length} ports; expected one port for all or one for each`);
  }
  const [first, ...others] = texts.map((text, index) => hostOf(text, ports[index] ?? ports[0]));
  if (!first) throw malformed();
  return [first, ...others];
}

function hostOf(text: string, port: string | undefined): HostPort {
  // an IPv6 address stands in brackets where a port may follow it
  const [, bracketed, name = "", ownPort = port] = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d+))?$/.exec(text) ?? [];
  if (bracketed === undefined && name === "" && text !== "" && !/^:\d+$/.test(text)) throw malformed();
  const number = ownPort === undefined ? 5432 : Number(ownPort);
  if (!Number.isInteger(number) || number < 1 || number > 65_535) {
    throw refused(`has the port ${quoted(String(ownPort))}; expected 1 to 65535`);
  }
  return { host: decode(bracketed ?? name) || "localhost", port: number };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw malformed();
  }
}

/** What an option names is no secret, but a URL in wrong order may put one there: nothing long is repeated. */
function quoted(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 12)}…` : text);
}

function refused(problem: string): OptionError {
  return new OptionError("ERR_OPTION_TYPE", "invalid_argument", `url ${problem}`);
}

function malformed(): OptionError {
  return refused(
    "must be of the form postgres://user:password@host:5432/database; several hosts are a:5432,b:5432; characters such as @ and / in a password are written %40 and %2F",
  );
}

/** `a:5432`, `[::1]:5432`, `/var/run/postgresql:5432`. */
export function nameOf({ host, port }: HostPort): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
