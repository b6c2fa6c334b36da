import { type Database, openDatabase } from "../database.ts";
import type { EmbeddedPostgres } from "../embedded/index.ts";
import type { DatabaseOptions } from "../options.ts";

/** By URL, of the servers that this process has started for tests: how many have, and one connection for making and dropping schemas. */
const admins = new Map<string, { users: number; db: Database | undefined }>();

/** Keeps a connection for schemas from now until the server is stopped. */
export function withAdmin(server: EmbeddedPostgres): EmbeddedPostgres {
  const { url } = server;
  const entry = admins.get(url) ?? { users: 0, db: undefined };
  entry.users++;
  admins.set(url, entry);
  let stopping: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    if (--entry.users === 0) {
      admins.delete(url);
      await entry.db?.close();
    }
    await server.stop();
  };
  return { ...server, stop: () => (stopping ??= stop()) };
}

/** Calls back with a database on which no schema of a test is set. */
export async function asAdmin<T>(options: DatabaseOptions, fn: (db: Database) => Promise<T>): Promise<T> {
  const entry = typeof options.url === "string" ? admins.get(options.url) : undefined;
  if (entry) return fn((entry.db ??= openAdmin({ url: options.url })));
  const { log: _log, metrics: _metrics, tracing: _tracing, errors: _errors, ...rest } = options;
  const db = openAdmin(rest);
  try {
    return await fn(db);
  } finally {
    await db.close();
  }
}

function openAdmin(options: Omit<DatabaseOptions, "schema">): Database {
  return openDatabase({
    ...options,
    schema: "public",
    applicationName: "plinth tests",
    migrations: [],
    minConnections: 0,
    maxConnections: 4,
    idleTimeoutMs: 60_000,
    statementTimeoutMs: 0,
    maxHeldMs: 0,
    createSchema: false,
  });
}
