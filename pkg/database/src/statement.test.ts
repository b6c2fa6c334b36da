import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readStatement, statementReader } from "./statement.ts";

describe("readStatement", () => {
  const texts: readonly [string, string][] = [
    ["select 'secret' from t", "select ? from t"],
    ["select 'it''s secret'", "select ?"],
    ["select E'a\\'secret' , 1", "select ? , ?"],
    ["select $$secret$$, $tag$ secret $$ $tag$ from t", "select ?, ? from t"],
    ["select $1, $2::int from t", "select $1, $2::int from t"],
    ['select "name 1" from "my table"', 'select "name 1" from "my table"'],
    [
      "select t1.c2 from t1 where n = 42 and m = 1.5e-3 and o = .5",
      "select t1.c2 from t1 where n = ? and m = ? and o = ?",
    ],
    ["select x'ff', B'01', U&'secret'", "select ?, ?, ?"],
    ["select 1 -- secret\nfrom t", "select ? from t"],
    ["select /* secret /* nested */ don't 'secret' */ 1", "select ?"],
    ["select 1 /* secret", "select ?"],
    ["select 'secret that never ends", "select ?"],
    ["select $x$ secret that never ends", "select ?"],
    ["select  a,\n\t b", "select a, b"],
    ["select größe from t where größe = 3", "select größe from t where größe = ?"],
  ];
  for (const [sql, text] of texts) {
    it(`shows ${JSON.stringify(sql)} without values`, () => {
      assert.equal(readStatement(sql).text, text);
    });
  }

  it("cuts a long text, also when that is inside a literal", () => {
    const { text } = readStatement(`select '${"secret".repeat(1_000)}'`);
    assert.equal(text, "select ?");
    assert.ok(readStatement(`select ${"a, ".repeat(2_000)} b`).text.length <= 2_048);
  });

  const summaries: readonly [string, string, string][] = [
    ['select "id" from "notes" where x = $1', "SELECT", "SELECT notes"],
    ["  (select 1)", "SELECT", "SELECT"],
    ["select 1; select 2;", "SELECT", "SELECT"],
    ["begin; set local statement_timeout = 1", "BEGIN", "BEGIN"],
    ["select ';insert'", "SELECT", "SELECT"],
    ["select 1; insert into notes values (1)", "OTHER", "OTHER"],
    ["begin; set local x = 1; select 1; delete from notes", "OTHER", "OTHER"],
    ["select id into copies from notes", "OTHER", "OTHER"],
    [`select "into" from notes where text = 'put into it'`, "SELECT", "SELECT notes"],
    ["explain analyze delete from notes", "OTHER", "OTHER"],
    [`select ${"1, ".repeat(1_000)} 1; delete from notes`, "OTHER", "OTHER"],
    ['insert into "app"."notes" values ($1)', "INSERT", "INSERT app.notes"],
    ["update notes set a = 1", "UPDATE", "UPDATE notes"],
    ["delete from notes", "DELETE", "DELETE notes"],
    ["create table if not exists notes (id int)", "CREATE", "CREATE notes"],
    ["start transaction read only", "BEGIN", "BEGIN"],
    ["commit", "COMMIT", "COMMIT"],
    ["nonsense from notes", "OTHER", "OTHER"],
    ["", "OTHER", "OTHER"],
    ["-- only this", "OTHER", "OTHER"],
  ];
  for (const [sql, operation, summary] of summaries) {
    it(`calls ${JSON.stringify(sql)} ${summary}`, () => {
      const facts = readStatement(sql);
      assert.equal(facts.operation, operation);
      assert.equal(facts.summary, summary);
    });
  }

  const collections: readonly [string, string | undefined][] = [
    ["select * from notes", "notes"],
    ["select * from notes where id in (select id from notes)", "notes"],
    ["select * from only notes", "notes"],
    ["select * from notes join tags on true", undefined],
    ["select * from notes n, tags", undefined],
    ["select * from generate_series(1, 3)", undefined],
    ["insert into notes (id) select id from drafts", undefined],
    ["with n as (select 1) select * from n", undefined],
    ["commit", undefined],
  ];
  for (const [sql, collection] of collections) {
    it(`takes ${collection ?? "none"} for the one table of ${JSON.stringify(sql)}`, () => {
      assert.equal(readStatement(sql).collection, collection);
    });
  }

  it("names what is called", () => {
    const facts = readStatement("call app.close_month($1)");
    assert.equal(facts.procedure, "app.close_month");
    assert.equal(facts.summary, "CALL app.close_month");
  });

  const changes: readonly [string, boolean][] = [
    ["set work_mem = 1", true],
    ["select 1; set work_mem = 1", true],
    ["/* a */ set work_mem = 1", true],
    [`select '${"x".repeat(3_000)}'; reset all`, true],
    ["create temp table t (id int)", true],
    ["declare c cursor with hold for select 1", true],
    ["select pg_advisory_lock(1)", true],
    ["select set_config('a.b', 'c', false)", true],
    ["set local work_mem = 1", false],
    ["set transaction read only", false],
    ["update notes\nset text = 'reset'", false],
    ["select '; set work_mem = 1'", false],
    ["create temp table t (id int) on commit drop", false],
    ["select pg_advisory_xact_lock(1)", false],
    ["select set_config('a.b', $1, true)", false],
  ];
  for (const [sql, does] of changes) {
    it(`says that ${JSON.stringify(sql.slice(0, 60))} ${does ? "changes" : "leaves"} its session`, () => {
      assert.equal(readStatement(sql).changesSession, does);
    });
  }

  it("reads hostile texts in time that grows no faster than they do", () => {
    for (const part of ["'", "$a$", "/*", "((((", "e'\\", '"', "from ".repeat(3), "1.1.1."]) {
      const startedAtMs = performance.now();
      readStatement(part.repeat(100_000));
      assert.ok(performance.now() - startedAtMs < 250, `${part} took ${performance.now() - startedAtMs} ms`);
    }
  });
});

describe("statementReader", () => {
  it("gives the same facts for the same text, also after more texts than it keeps", () => {
    const read = statementReader((facts) => facts);
    const first = read("select a from t");
    assert.equal(read("select a from t"), first);
    for (let number = 0; number < 2_000; number++) read(`select a${number} from t`);
    assert.deepEqual(read("select a from t"), first);
  });
});
