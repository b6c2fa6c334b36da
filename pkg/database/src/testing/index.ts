import { randomHex } from "@plinth/kernel";
import { sql } from "kysely";
import { type Database, openDatabase } from "../database.ts";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../embedded/index.ts";
import type { DatabaseOptions } from "../options.ts";
import type { NoTables } from "../queries.ts";

export {
  databaseSuite,
  type DatabaseSuiteOptions,
  type SuiteDatabase,
  type SuiteDatabaseOptions,
  type SuiteTables,
} from "./suite.ts";

/**
 * A PostgreSQL for tests, shared by all that run in this working directory at the same time. Stop it after the tests.
 *
 * @param dataDir - Default `.cache/postgres-test`.
 * @example
 * const server = await startTestPostgres();
 * after(() => server.stop());
 */
export function startTestPostgres(dataDir = ".cache/postgres-test"): Promise<EmbeddedPostgres> {
  return startEmbeddedPostgres({ dataDir, fsync: false });
}

export type TestDatabaseOptions = Omit<DatabaseOptions, "schema">;

/**
 * A connected database with a schema of its own, which is dropped at the end of the `await using` block.
 *
 * @example await using db = await testDatabase<NotesTables>({ url: server.url, migrations: notesMigrations });
 */
export async function testDatabase<Tables = NoTables>(
  options: TestDatabaseOptions,
): Promise<Database<Tables> & AsyncDisposable> {
  const schema = `test_${randomHex(8)}`;
  const db = openDatabase<Tables>({ ...options, schema });
  const dispose = async (): Promise<void> => {
    await db.close({ signal: AbortSignal.abort() }); // what a test has left running must not hold the schema
    const last = openDatabase({
      ...options,
      schema,
      minConnections: 0,
      maxConnections: 1,
      statementTimeoutMs: 0,
      migrations: [],
    });
    await last.query(sql`drop schema ${sql.id(schema)} cascade`);
    await last.close();
  };
  try {
    await db.connect();
  } catch (error) {
    await db.close();
    throw error;
  }
  return Object.assign(db, { [Symbol.asyncDispose]: dispose });
}
