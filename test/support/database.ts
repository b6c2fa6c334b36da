// A database of its own for a test, on the PostgreSQL that all tests of this repository share.
import { join } from "node:path";
import { openDatabase, sql } from "@plinth/database";
import { startEmbeddedPostgres } from "@plinth/database/embedded";
import { randomHex } from "@plinth/kernel";

const dataDir = join(import.meta.dirname, "../../.cache/postgres-test");

export interface TestDatabase extends AsyncDisposable {
  /** For `PLINTH_DATABASE_URL`. */
  readonly url: string;
}

/** Dropped at the end of its `await using` block, whoever is still connected to it. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const server = await startEmbeddedPostgres({ dataDir, fsync: false });
  const name = `e2e_${randomHex(6)}`;
  const admin = openDatabase({ url: server.url, schema: "public", maxConnections: 1, createSchema: false });
  const dispose = async (): Promise<void> => {
    await admin.query(sql`drop database if exists ${sql.id(name)} with (force)`);
    await admin.close();
    await server.stop();
  };
  try {
    await admin.query(sql`create database ${sql.id(name)}`);
  } catch (error) {
    await dispose();
    throw error;
  }
  const url = new URL(server.url);
  url.pathname = `/${name}`;
  return { url: url.href, [Symbol.asyncDispose]: dispose };
}
