// A service on a database and nothing else, for the tests of one that dies, hangs or is full.
import { database, databaseModule, sql } from "@plinth/database";
import { coreModule, createApp, defineModule, provider } from "@plinth/kernel";
import { httpModule, httpRoutes } from "@plinth/transport";

const queryModule = defineModule("query", [
  provider({
    provides: httpRoutes,
    needs: { db: database },
    create:
      ({ db }) =>
      (app) => {
        app.get("/query", async () => (await db.query(sql`select current_schema() as schema`)).rows[0]);
        app.get("/hold", async () => (await db.query(sql`select pg_sleep(600)`)).rows.length);
      },
  }),
]);

const modules = [coreModule, databaseModule, httpModule, queryModule];
process.exitCode = await createApp({ name: "querying", modules }).run();
