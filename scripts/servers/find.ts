// Finds a real server program for tests and benches: a variable, then PATH, then Debian's package unpacked into .cache/.
import { execFile } from "node:child_process";
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { promisify } from "node:util";
import { withLock } from "../lock.mjs";
import { type DebianPackage, findLibraryFolders, unpackDebianPackage } from "./debian.ts";
import { ServerError } from "./errors.ts";

export type ServerName =
  | "consul"
  | "nginx"
  | "haproxy"
  | "caddy"
  | "apache2"
  | "prometheus"
  | "promtool"
  | "postgres"
  | "pgbouncer"
  | "redis-server";

/** A program and the variables it must be started with, to be laid over `process.env`. */
export interface Server {
  readonly bin: string;
  readonly env: Record<string, string>;
}

interface ServerSource {
  readonly variable: string;
  readonly package: DebianPackage;
  /** Where the package keeps the program. Programs of one package are fetched together, into the folder of its name. */
  readonly bin: string;
  /** Where a machine that has the package keeps it, when its version matters or it is not on PATH. Default: PATH. */
  readonly folder?: string;
  /** What makes it print its version and end: whether a fetched program runs here at all. */
  readonly versionArgument: string;
}

const sources: Readonly<Record<ServerName, ServerSource>> = {
  // Bullseye was the last suite with Consul.
  consul: {
    variable: "CONSUL_BIN",
    package: { name: "consul", suite: "bullseye" },
    bin: "usr/bin/consul",
    versionArgument: "version",
  },
  nginx: { variable: "NGINX_BIN", package: { name: "nginx" }, bin: "usr/sbin/nginx", versionArgument: "-v" },
  haproxy: { variable: "HAPROXY_BIN", package: { name: "haproxy" }, bin: "usr/sbin/haproxy", versionArgument: "-v" },
  caddy: { variable: "CADDY_BIN", package: { name: "caddy" }, bin: "usr/bin/caddy", versionArgument: "version" },
  apache2: {
    variable: "APACHE2_BIN",
    package: { name: "apache2-bin" },
    bin: "usr/sbin/apache2",
    versionArgument: "-v",
  },
  prometheus: {
    variable: "PROMETHEUS_BIN",
    package: { name: "prometheus" },
    bin: "usr/bin/prometheus",
    versionArgument: "--version",
  },
  promtool: {
    variable: "PROMTOOL_BIN",
    package: { name: "prometheus" },
    bin: "usr/bin/promtool",
    versionArgument: "--version",
  },
  // 15, which Debian has, and none that happens to be on PATH. LLVM is for its just-in-time compiler, without which it runs as well.
  postgres: {
    variable: "POSTGRES_BIN",
    package: { name: "postgresql-15", without: /^libllvm/ },
    bin: "usr/lib/postgresql/15/bin/postgres",
    folder: "/usr/lib/postgresql/15/bin",
    versionArgument: "--version",
  },
  pgbouncer: {
    variable: "PGBOUNCER_BIN",
    package: { name: "pgbouncer" },
    bin: "usr/sbin/pgbouncer",
    versionArgument: "--version",
  },
  "redis-server": {
    variable: "REDIS_SERVER_BIN",
    package: { name: "redis-server" },
    bin: "usr/bin/redis-server",
    versionArgument: "--version",
  },
};

export const serverNames = Object.keys(sources).filter((name): name is ServerName => name in sources);

export interface FindServerOptions {
  /**
   * The environment that is looked into: `PATH`, `<NAME>_BIN`, and `PLINTH_SERVERS_DIR`, the folder that keeps what is
   * fetched, `.cache/servers` of the repository when absent. Default `process.env`.
   */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Told what takes time: fetching, or waiting for another process that fetches. Default: a line on stderr. */
  readonly onProgress?: (line: string) => void;
}

const repository = resolve(import.meta.dirname, "../..");
const found = new Map<string, Promise<Server>>();

/**
 * The program of `name`, fetched when this machine has none. Quick once it is there; safe to call from many processes.
 *
 * @throws {@link ServerError} `ERR_SERVER_MISSING` with what to install and which variable to set,
 *   `ERR_SERVER_OVERRIDE` when that variable names a file that cannot be run.
 */
export function findServer(name: ServerName, options: FindServerOptions = {}): Promise<Server> {
  const { env = process.env, onProgress = (line) => process.stderr.write(`${line}\n`) } = options;
  const cacheFolder = resolve(env["PLINTH_SERVERS_DIR"] ?? join(repository, ".cache/servers"));
  const key = JSON.stringify([name, cacheFolder, env[sources[name].variable], env["PATH"]]);
  const known = found.get(key) ?? find(name, cacheFolder, env, onProgress);
  found.set(key, known);
  // A failure is not kept: the next caller may have a network.
  known.catch(() => found.delete(key));
  return known;
}

async function find(
  name: ServerName,
  cacheFolder: string,
  env: Readonly<Record<string, string | undefined>>,
  onProgress: (line: string) => void,
): Promise<Server> {
  const source = sources[name];
  const override = env[source.variable];
  if (override !== undefined && override !== "") {
    if (isProgram(override)) return { bin: override, env: {} };
    throw new ServerError(
      "ERR_SERVER_OVERRIDE",
      `${source.variable} is "${override}", which is not a program that can be run`,
    );
  }
  // Daemons live in sbin, which is not on everybody's PATH.
  const onPath = [...(env["PATH"] ?? "").split(delimiter), "/usr/local/sbin", "/usr/sbin"];
  const folders = source.folder === undefined ? onPath : [source.folder];
  const installed = folders.map((folder) => join(folder, name)).find(isProgram);
  if (installed !== undefined) return { bin: installed, env: {} };
  const folder = join(cacheFolder, source.package.name);
  if (!existsSync(folder)) await fetchOnce(name, folder, onProgress);
  return unpackedServer(name, folder);
}

async function unpackedServer(name: ServerName, folder: string): Promise<Server> {
  const libraries = await findLibraryFolders(folder);
  const env = libraries.length === 0 ? {} : { LD_LIBRARY_PATH: libraries.join(delimiter) };
  return { bin: join(folder, sources[name].bin), env };
}

async function fetchOnce(name: ServerName, folder: string, onProgress: (line: string) => void): Promise<void> {
  const source = sources[name];
  const onWait = (holder: string) => onProgress(`Waiting for ${holder}, which is fetching ${name}.`);
  const fetchIt = async () => {
    if (existsSync(folder)) return;
    onProgress(`Fetching ${name} from Debian's packages into ${folder}, once.`);
    await unpackDebianPackage(source.package, folder, async (unpacked) => {
      const { bin, env } = await unpackedServer(name, unpacked);
      await promisify(execFile)(bin, [source.versionArgument], { env: { ...process.env, ...env } });
    });
  };
  try {
    await withLock(`${folder}.lock`, fetchIt, { onWait });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.trim() : String(cause);
    throw new ServerError(
      "ERR_SERVER_MISSING",
      `there is no ${name}: it is not ${source.folder === undefined ? "on PATH" : `in ${source.folder}`} and could not be fetched (${reason}); ` +
        `install ${source.folder === undefined ? name : source.package.name}, or set ${source.variable} to its program`,
      { cause },
    );
  }
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
