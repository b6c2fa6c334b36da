import { randomHex } from "@plinth/kernel";
import { sql } from "kysely";
import { type Database, openDatabase } from "../database.ts";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../embedded/index.ts";
import type { DatabaseOptions } from "../options.ts";
import type { NoTables } from "../queries.ts";
import { asAdmin, withAdmin } from "./admin.ts";
import { replayMigrations } from "./replay.ts";

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
export async function startTestPostgres(dataDir = ".cache/postgres-test"): Promise<EmbeddedPostgres> {
  return withAdmin(await startEmbeddedPostgres({ dataDir, fsync: false }));
}

export type TestDatabaseOptions = Omit<DatabaseOptions, "schema">;

/**
 * A connected database with a schema of its own, which is dropped at the end of the `await using` block. Give the same migrations each time:
 * from the third schema on they are not run but sent again, in one message, unless one has no transaction, sends values apart from its text
 * or names its schema.
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
    await asAdmin({ ...options, schema }, (admin) => admin.query(sql`drop schema ${sql.id(schema)} cascade`));
  };
  try {
    if (await replayMigrations({ ...options, schema })) await db.query(sql`select 1`);
    else await db.connect();
  } catch (error) {
    await db.close();
    await asAdmin({ ...options, schema }, (admin) =>
      admin.query(sql`drop schema if exists ${sql.id(schema)} cascade`),
    ).catch(
      () => undefined, // why it failed counts
    );
    throw error;
  }
  return Object.assign(db, { [Symbol.asyncDispose]: dispose });
}
