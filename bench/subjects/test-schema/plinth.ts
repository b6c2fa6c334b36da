// Plinth's `testDatabase`, with as many migrations as MIGRATIONS says.
import { type Queries, sql } from "@plinth/database";
import { startTestPostgres, testDatabase } from "@plinth/database/testing";
import { CompiledQuery } from "kysely";
import { required } from "../ready.ts";
import { measureSchemas } from "./measure.ts";
import { migrationSteps } from "./migrations.ts";

const server = await startTestPostgres(required("DATA_DIR"));
const migrations = migrationSteps(Number(required("MIGRATIONS"))).map(({ name, statements }) => ({
  name,
  up: async (db: Queries): Promise<void> => {
    for (const text of statements) await db.kysely.executeQuery(CompiledQuery.raw(text));
  },
}));
await measureSchemas(async () => {
  const db = await testDatabase({ url: server.url, migrations });
  await db.query(sql`select 1`);
  return async () => db[Symbol.asyncDispose]();
});
await server.stop();
