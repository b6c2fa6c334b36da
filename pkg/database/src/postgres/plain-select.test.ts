import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  sql,
  WithSchemaPlugin,
} from "kysely";
import { jsonArrayFrom } from "kysely/helpers/postgres";
import { isPlainSelect } from "./plain-select.ts";

interface Tables {
  notes: { id: number; text: string; parent: number | null };
  tags: { note: number; name: string };
}

const dialect = {
  createAdapter: () => new PostgresAdapter(),
  createDriver: () => new DummyDriver(),
  createIntrospector: (kysely: Kysely<unknown>) => new PostgresIntrospector(kysely),
  createQueryCompiler: () => new PostgresQueryCompiler(),
};
const unqualified = new Kysely<Tables>({ dialect });
const db = unqualified.withPlugin(new WithSchemaPlugin("own"));

describe("isPlainSelect", () => {
  for (const [what, query] of [
    ["a table", db.selectFrom("notes").selectAll()],
    ["an alias", db.selectFrom("notes as n").select(["n.id", "n.text as t"]).where("n.id", "=", 1)],
    ["an order and a limit", db.selectFrom("notes").selectAll().orderBy("id", "desc").limit(3)],
    [
      "an order with nulls last",
      db
        .selectFrom("notes")
        .select("id")
        .orderBy("id", (o) => o.desc().nullsLast()),
    ],
    ["a list of values", db.selectFrom("notes").select("id").where("id", "in", [1, 2])],
    [
      "joins and counts",
      db
        .selectFrom("notes")
        .innerJoin("tags as t", "t.note", "notes.id")
        .select((e) => e.fn.countAll().as("n")),
    ],
    ["a query in a query", db.selectFrom(db.selectFrom("tags").select("note").as("x")).select("x.note")],
    [
      "exists",
      db
        .selectFrom("notes")
        .select("id")
        .where((e) => e.exists(e.selectFrom("tags").select("name"))),
    ],
    ["a lock", db.selectFrom("notes").selectAll().forUpdate()],
    ["a union", db.selectFrom("notes").select("id").union(db.selectFrom("tags").select("note as id"))],
  ] as const) {
    it(`is true of ${what}`, () => {
      const compiled = query.compile();
      assert.equal(isPlainSelect(compiled.query), true, compiled.sql);
      assert.match(compiled.sql, /"own"\./);
    });
  }

  for (const [what, query] of [
    ["tables without a schema", unqualified.selectFrom("notes").selectAll()],
    ["a join without a schema", unqualified.selectFrom("notes").innerJoin("tags", "note", "id").select("name")],
    [
      "a fragment written by hand",
      db
        .selectFrom("notes")
        .select("id")
        .where(sql<boolean>`exists (select from tags)`),
    ],
    ["a table written by hand", db.selectFrom(sql<{ id: number }>`notes`.as("n")).select("id")],
    ["a function", db.selectFrom("notes").select((e) => e.fn<number>("length_of", ["text"]).as("n"))],
    ["an aggregate of the service", db.selectFrom("notes").select((e) => e.fn.agg<number>("median", ["id"]).as("n"))],
    [
      "a select that writes",
      db
        .with("gone", (w) => w.deleteFrom("tags").returning("note"))
        .selectFrom("gone")
        .selectAll(),
    ],
    [
      "json by kysely's helper, which is a fragment",
      db.selectFrom("notes").select((e) => jsonArrayFrom(e.selectFrom("tags").select("name")).as("t")),
    ],
    ["an insert", db.insertInto("tags").values({ note: 1, name: "a" })],
    ["an update", db.updateTable("tags").set({ name: "a" })],
    ["a delete", db.deleteFrom("tags")],
  ] as const) {
    it(`is false of ${what}`, () => {
      const compiled = query.compile();
      assert.equal(isPlainSelect(compiled.query), false, compiled.sql);
    });
  }

  it("is false of a statement written by hand", () => {
    assert.equal(isPlainSelect(sql`select 1`.compile(db).query), false);
  });

  it("is not led astray by a value that looks like a part of a query", () => {
    const value = { kind: "RawNode", sqlFragments: ["x"] };
    const plain = db
      .selectFrom("notes")
      .select("id")
      .where("text", "in", [JSON.stringify(value)])
      .compile();
    assert.equal(isPlainSelect(plain.query), true);
  });
});
