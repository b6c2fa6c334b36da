import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { EmbeddedPostgres } from "../embedded/index.ts";
import { type Migration, type Queries, sql } from "../index.ts";
import { parseSqlMigration } from "../migrations/sql-file.ts";
import { startTestPostgres, testDatabase } from "./index.ts";

/** Migrations that count how often they are run. */
function counted(name: string, up: Migration["up"]): { readonly migration: Migration; readonly runs: () => number } {
  let runs = 0;
  const migration: Migration = {
    name,
    up: (tx) => {
      runs++;
      return up(tx);
    },
  };
  return { migration, runs: () => runs };
}

const create = (tx: Queries): Promise<unknown> =>
  tx.query(sql`create table notes (id int generated always as identity primary key, text text default 'a;b')`);

describe("testDatabase", { timeout: 60_000 }, () => {
  let server: EmbeddedPostgres;
  before(async () => void (server = await startTestPostgres()));
  after(() => server.stop());
  const open = (migrations: readonly Migration[]) => testDatabase({ url: server.url, migrations });

  it("gives each test an empty schema of its own, and drops it", async () => {
    const { migration, runs } = counted("0001_create", (tx) => tx.transaction(create));
    const seed = parseSqlMigration("0002_seed", "-- migrate:up\ninsert into notes (text) values ('seed; one');");
    const schemas: string[] = [];
    for (let round = 0; round < 4; round++) {
      await using db = await open([seed, migration]);
      schemas.push(db.schema);
      assert.deepEqual((await db.query(sql`select id, text from notes`)).rows, [{ id: 1, text: "seed; one" }]);
      await db.query(sql`insert into notes (text) values (default)`);
      assert.deepEqual(
        (await db.migrationStatus()).map(({ name, status }) => [name, status]),
        [
          ["0001_create", "applied"],
          ["0002_seed", "applied"],
        ],
      );
      assert.deepEqual(await db.migrate(), []);
    }
    assert.equal(new Set(schemas).size, 4);
    assert.equal(runs(), 2, "in the first schema, and to see what they send");
    await using db = await open([]);
    const { rows } = await db.query(sql`select 1 from pg_namespace where nspname = any(${schemas})`);
    assert.deepEqual(rows, []);
  });

  const always: readonly [string, Migration["up"]][] = [
    ["send values apart from the text", (tx) => tx.query(sql`insert into notes (text) values (${"x"})`)],
    [
      "name the schema",
      async (tx) => {
        const { rows } = await tx.query(sql<{ schema: string }>`select current_schema() as schema`);
        await tx.query(sql`insert into ${sql.id(rows[0]?.schema ?? "", "notes")} default values`);
      },
    ],
  ];
  for (const [what, up] of always) {
    it(`runs migrations again that ${what}`, async () => {
      const first = counted("0001_create", create);
      const second = counted("0002_more", up);
      for (let round = 0; round < 3; round++) {
        await using db = await open([first.migration, second.migration]);
        assert.equal((await db.query(sql`select 1 from notes`)).rows.length, 1);
      }
      assert.equal(second.runs(), 4, "each time, and once to see what they send");
    });
  }

  it("says each time which migration fails, and leaves no schema", async () => {
    const broken: Migration = { name: "0001_broken", up: (tx) => tx.query(sql`select nothing`) };
    for (let round = 0; round < 3; round++) await assert.rejects(open([broken]), { message: /0001_broken/ });
  });

  it("gives many at once", async () => {
    const { migration } = counted("0001_create", create);
    const all = await Promise.all(Array.from({ length: 8 }, () => open([migration])));
    await Promise.all(all.map((db) => db.query(sql`insert into notes default values`)));
    await Promise.all(all.map((db) => db[Symbol.asyncDispose]()));
  });
});
