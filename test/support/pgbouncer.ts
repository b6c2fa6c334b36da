// A real PgBouncer between a test and a PostgreSQL.
import { chmod, chown, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { serverAccount } from "../../pkg/database/src/embedded/account.ts";
import {
  findFreePorts,
  findServer,
  ServerError,
  type ServerProcess,
  startServerProcess,
} from "../../scripts/servers/index.ts";
import { reachableBy } from "./reachable.ts";

const readyLimitMs = 15_000;
const pollMs = 10;

export interface PgBouncerOptions {
  /** Of the PostgreSQL behind it, as a superuser: `postgres://user:password@127.0.0.1:5432/database`. */
  readonly server: string;
  /** What clients may name as their database, and its settings: `{ narrow: "pool_mode=transaction pool_size=1" }`. */
  readonly databases: Readonly<Record<string, string>>;
  /** More lines of its section `[pgbouncer]`: `{ query_wait_timeout: 1 }`. Default none. */
  readonly settings?: Readonly<Record<string, string | number>>;
  /** In PEM, to take clients over TLS alone. Default: in the open. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

export interface PgBouncer extends AsyncDisposable {
  readonly port: number;
  readonly pid: number;
  /** What a client connects to, as the superuser. */
  url(database: string): string;
  /** What it printed last. */
  output(): string;
  /** Sends `signal`. Resolves when the process has ended; for SIGSTOP and SIGCONT, at once. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Ends it at once if it still runs, and starts it again on the same port. */
  restart(): Promise<void>;
  /** Ends it and removes its files. Safe to call twice. */
  stop(): Promise<void>;
}

/**
 * Starts PgBouncer on a free port of 127.0.0.1. Any role of the server may log in through it. It ends with this process in any case.
 *
 * @throws {@link ServerError} `ERR_SERVER_MISSING` when none can be had, `ERR_SERVER_START` when it does not come up.
 */
export async function startPgBouncer(options: PgBouncerOptions): Promise<PgBouncer> {
  const { server, databases, settings = {}, tls } = options;
  const account = await serverAccount();
  const program = await reachableBy(account, await findServer("pgbouncer"));
  const folder = await mkdtemp(join(tmpdir(), "plinth-pgbouncer-"));
  const [port = 0] = await findFreePorts(1);
  const behind = new URL(server);
  const user = decodeURIComponent(behind.username);
  const dbname = behind.pathname.slice(1);
  const target = `host=${behind.hostname} port=${behind.port} dbname=${dbname} auth_user=${user}`;
  const config = [
    "[databases]",
    ...Object.entries(databases).map(([name, more]) => `${name} = ${target} ${more}`),
    "[pgbouncer]",
    ...Object.entries({
      listen_addr: "127.0.0.1",
      listen_port: port,
      unix_socket_dir: "",
      auth_type: "scram-sha-256",
      auth_file: join(folder, "users"),
      auth_query: "select rolname, rolpassword from pg_catalog.pg_authid where rolname = $1 and rolcanlogin",
      admin_users: user,
      max_client_conn: 500,
      server_login_retry: 1,
      ...(tls && {
        client_tls_sslmode: "require",
        client_tls_cert_file: join(folder, "cert"),
        client_tls_key_file: join(folder, "key"),
      }),
      ...settings,
    }).map(([name, value]) => `${name} = ${value}`),
  ];
  const files = {
    "pgbouncer.ini": config.join("\n"),
    users: `"${user}" "${decodeURIComponent(behind.password)}"`,
    ...tls,
  };
  for (const [name, text] of Object.entries(files)) {
    await writeFile(join(folder, name), `${text}\n`, { mode: 0o600 });
    if (account) await chown(join(folder, name), account.uid, account.gid);
  }
  await chmod(folder, 0o755); // for that account, which may not be ours
  const run = async (): Promise<ServerProcess> => {
    const child = await startServerProcess(program, [join(folder, "pgbouncer.ini")], folder, account);
    await untilReady(child, port);
    return child;
  };
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  let child = await run().catch(async (error: unknown) => {
    await remove();
    throw error;
  });
  // It waits for its clients on SIGTERM; nothing in it is worth that.
  const end = (): Promise<void> => child.kill("SIGKILL");
  const stop = async (): Promise<void> => {
    await end();
    await remove();
  };
  return {
    port,
    get pid() {
      return child.pid;
    },
    url: (database) => `postgres://${behind.username}:${behind.password}@127.0.0.1:${port}/${database}`,
    output: () => child.output(),
    kill: (signal) => child.kill(signal),
    async restart() {
      await end();
      child = await run();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function untilReady(child: ServerProcess, port: number): Promise<void> {
  const deadlineMs = performance.now() + readyLimitMs;
  while (!(await accepts(port))) {
    if (!child.exited() && performance.now() < deadlineMs) {
      await delay(pollMs);
      continue;
    }
    await child.kill("SIGKILL");
    throw new ServerError(
      "ERR_SERVER_START",
      `PgBouncer did not come up on port ${port}; it printed:\n${child.output()}`,
    );
  }
}

function accepts(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(port, "127.0.0.1");
  socket.once("connect", () => resolve(true));
  socket.once("error", () => resolve(false));
  return promise.finally(() => socket.destroy());
}
