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
    const read = statementReader();
    const first = read("select a from t");
    assert.equal(read("select a from t"), first);
    for (let number = 0; number < 2_000; number++) read(`select a${number} from t`);
    assert.deepEqual(read("select a from t"), first);
  });
});
