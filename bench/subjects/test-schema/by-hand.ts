// What a team writes today: a schema, a pool whose search path it is, and kysely's own Migrator.
import { randomBytes } from "node:crypto";
import { startTestPostgres } from "@plinth/database/testing";
import { Kysely, PostgresDialect, sql } from "kysely";
import { Migrator } from "kysely/migration";
import { Pool } from "pg";
import { required } from "../ready.ts";
import { measureSchemas } from "./measure.ts";
import { migrationSteps } from "./migrations.ts";

const server = await startTestPostgres(required("DATA_DIR"));
const given = Object.fromEntries(
  migrationSteps(Number(required("MIGRATIONS"))).map(({ name, statements }) => {
    const up = async (db: Kysely<never>): Promise<void> => {
      for (const text of statements) await sql.raw(text).execute(db);
    };
    return [name, { up }];
  }),
);
const admin = new Pool({ connectionString: server.url, max: 1 });
await measureSchemas(async () => {
  const schema = `test_${randomBytes(8).toString("hex")}`;
  await admin.query(`create schema ${schema}`);
  const pool = new Pool({ connectionString: server.url, options: `-c search_path=${schema}` });
  const db = new Kysely<never>({ dialect: new PostgresDialect({ pool }) });
  const migrator = new Migrator({ db, provider: { getMigrations: async () => given }, migrationTableSchema: schema });
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) throw new Error("the migrations failed", { cause: error });
  await sql`select 1`.execute(db);
  return async () => {
    await db.destroy();
    await admin.query(`drop schema ${schema} cascade`);
  };
});
await admin.end();
await server.stop();
