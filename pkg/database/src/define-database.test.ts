import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { coreModule, createApp, defineModule, health, metrics, provider, token } from "@plinth/kernel";
import { testApp } from "@plinth/kernel/testing";
import type { EmbeddedPostgres } from "./embedded/index.ts";
import {
  type Database,
  database,
  databaseModule,
  defineDatabase,
  type Migration,
  provideMigrations,
  sql,
} from "./index.ts";
import { startTestPostgres, testDatabase } from "./testing/index.ts";

const reports = defineDatabase("reports");

const create = (table: string): Migration => ({
  name: "0001_create",
  up: (tx) => tx.query(sql`create table ${sql.id(table)} (id int)`),
  down: (tx) => tx.query(sql`drop table ${sql.id(table)}`),
});

interface Both {
  readonly main: Database;
  readonly second: Database;
}
const both = token("both").of<Both>();
const bothModule = defineModule("both", [
  provideMigrations([create("notes")]),
  reports.provideMigrations([create("totals")]),
  provider({
    provides: both,
    needs: { main: database, second: reports.database },
    create: (databases): Both => databases,
    start: async ({ main, second }) => {
      await main.query(sql`select 1 from notes`);
      await second.query(sql`select 1 from totals`);
    },
    // the databases outlive whoever needs them
    stop: async ({ main, second }) => {
      await Promise.all([main.query(sql`select 1`), second.query(sql`select 1`)]);
    },
  }),
]);

describe("defineDatabase", { timeout: 60_000 }, () => {
  let server: EmbeddedPostgres;
  before(async () => void (server = await startTestPostgres()));
  after(() => server.stop());
  const name = `several-${process.pid}`;
  const schema = `several_${process.pid}`;
  const configFor = (main: Database, second: Database) => ({
    environment: {
      PLINTH_DATABASE_URL: server.url,
      PLINTH_DATABASE_SCHEMA: main.schema,
      PLINTH_DATABASE_REPORTS_URL: server.url,
      PLINTH_DATABASE_REPORTS_SCHEMA: second.schema,
      PLINTH_DATABASE_REPORTS_MAX_CONNECTIONS: "2",
    },
  });

  it("gives an app a second database with all that the main one has, each on its own", async () => {
    await using main = await testDatabase({ url: server.url });
    await using second = await testDatabase({ url: server.url });
    const app = await testApp({
      name,
      modules: [coreModule, databaseModule, reports.module, bothModule],
      expose: [both],
      config: configFor(main, second),
    });
    const { main: own, second: other } = app.get(both);
    assert.deepEqual([own.schema, other.schema], [main.schema, second.schema]);
    assert.deepEqual([own.stats().maxConnections, other.stats().maxConnections], [10, 2]);
    await assert.rejects(other.query(sql`select 1 from notes`), { sqlState: "42P01" });
    await assert.rejects(own.query(sql`select 1 from totals`), { sqlState: "42P01" });

    const { checks } = await app.get(health).readiness();
    assert.deepEqual(
      checks.map((check) => check.name).filter((each) => each.startsWith("database")),
      ["database", "database.reports"],
    );
    const { body } = await app.get(metrics).expose();
    assert.match(body, /database_pool_max_connections\{database="main"\} 10/);
    assert.match(body, /database_pool_max_connections\{database="reports"\} 2/);
    assert.equal(app.logged.withMessage("migrations applied").length, 2);
    const ids = new Set(app.describe().nodes.map(({ id }) => id));
    for (const id of ["database", "database.server", "database.reports", "database.reports.server"]) {
      assert.ok(ids.has(id), `the graph shows ${id}`);
    }
    await app.stop();
  });

  it("calls the schema after app and database where the settings name none", async () => {
    await using main = await testDatabase({ url: server.url });
    const app = await testApp({
      name,
      modules: [coreModule, databaseModule, reports.module],
      expose: [reports.database],
      config: {
        environment: {
          PLINTH_DATABASE_URL: server.url,
          PLINTH_DATABASE_SCHEMA: main.schema,
          PLINTH_DATABASE_REPORTS_URL: server.url,
        },
      },
    });
    assert.equal(app.get(reports.database).schema, `${schema}_reports`);
    await app.get(reports.database).query(sql`drop schema ${sql.id(`${schema}_reports`)}`);
    await app.stop();
  });

  it("says which section is at fault", async () => {
    const app = createApp({
      name,
      modules: [coreModule, databaseModule, reports.module],
      config: { environment: { PLINTH_DATABASE_URL: server.url, PLINTH_DATABASE_REPORTS_MAX_CONNECTIONS: "0" } },
      logDestination: { write: () => {} },
    });
    await assert.rejects(app.start(), { message: /database-reports\.maxConnections: .*MAX_CONNECTIONS/ });
  });

  it("can be the only one of an app", async () => {
    await using second = await testDatabase({ url: server.url });
    const environment = { PLINTH_DATABASE_REPORTS_URL: server.url, PLINTH_DATABASE_REPORTS_SCHEMA: second.schema };
    const app = await testApp({
      name,
      modules: [coreModule, reports.module],
      expose: [reports.database],
      config: { environment },
    });
    await app.get(reports.database).query(sql`select 1`);
    await app.stop();
  });

  it("migrates all of them, or the one that is named", async () => {
    await using main = await testDatabase({ url: server.url });
    await using second = await testDatabase({ url: server.url });
    const app = createApp({
      name,
      modules: [coreModule, databaseModule, reports.module, bothModule],
      config: configFor(main, second),
      logDestination: { write: () => {} },
    });
    const ask = async (args: Record<string, string | boolean>, more = {}): Promise<readonly string[]> =>
      (await app.runTasks({ name: "migrate", args, ...more })).map(({ text }) =>
        text.replaceAll(/\d+ ms|20\S+Z/g, "…"),
      );
    assert.deepEqual(await ask({ action: "up", dryRun: true }, { subject: "reports" }), [
      `reports, schema ${second.schema}:\n  would apply  0001_create  …\n      create table "totals" (id int);\n`,
    ]);
    assert.deepEqual(await ask({ action: "up" }), [
      `main, schema ${main.schema}:\n  applied  0001_create  …\n`,
      `reports, schema ${second.schema}:\n  applied  0001_create  …\n`,
    ]);
    assert.deepEqual(await ask({ action: "down" }, { subject: "main", single: true }), [
      `main, schema ${main.schema}:\n  took back  0001_create  …\n`,
    ]);
    assert.deepEqual(await ask({ action: "status" }), [
      `main, schema ${main.schema}:\n  pending       0001_create\n`,
      `reports, schema ${second.schema}:\n  applied       0001_create  …  …\n`,
    ]);
    await assert.rejects(ask({ action: "sideways" }), { code: "ERR_OPTION_RANGE", message: /^migrate: / });
  });

  it("does not compile where a database that is needed is not there", () => {
    const wired = () => createApp({ name, modules: [coreModule, databaseModule, reports.module, bothModule] });
    const lacking = () =>
      createApp({
        name,
        // @ts-expect-error -- no module provides the token "database.reports"
        modules: [coreModule, databaseModule, bothModule],
      });
    const other = defineDatabase("other");
    const wrong = () =>
      createApp({
        name,
        // @ts-expect-error -- that of another database is none
        modules: [coreModule, databaseModule, other.module, bothModule],
      });
    assert.ok(wired() && lacking() && wrong());
    const section: "database-reports" = reports.settings.section;
    const name_: "database.reports" = reports.database.name;
    assert.deepEqual([section, name_], ["database-reports", "database.reports"]);
  });

  for (const wrong of ["main", "Reports", "re-ports", "", "1st", "a".repeat(31), "tls", "check", 'x"; drop schema a']) {
    it(`refuses the name ${JSON.stringify(wrong)}`, () => {
      assert.throws(() => defineDatabase(wrong), { code: "ERR_OPTION_RANGE", message: /^name must be/ });
    });
  }
});
