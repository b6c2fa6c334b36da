// kysely on pg's pool.
import { Kysely, PostgresDialect } from "kysely";
import { Pool } from "pg";
import { hold, move, select } from "./by-kysely.ts";
import { measureDatabase } from "./measure.ts";
import { benchServer, connections, type Tables } from "./open.ts";

const server = await benchServer();
const db = new Kysely<Tables>({
  dialect: new PostgresDialect({ pool: new Pool({ connectionString: server.url, max: connections }) }),
});

await measureDatabase({
  select: (id) => select(db, id),
  transaction: (id) => db.transaction().execute((tx) => move(tx, id)),
  hold: () => hold(db),
});
await db.destroy();
await server.stop();
