import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseSqlMigration } from "./sql-file.ts";
import { splitStatements } from "./split-statements.ts";

const parse = (text: string) => parseSqlMigration("0001_x", text);
const checksumOf = (text: string): string | undefined => parse(text).checksum;

describe("parseSqlMigration", () => {
  it("reads both ways, whatever ends the lines and stands above", () => {
    const text =
      "-- What it is for.\r\n\r\n-- migrate:up\r\ncreate table a (id int);\r\n-- migrate:down\r\ndrop table a;\r\n";
    const { name, sql, down, transaction } = parse(text);
    assert.deepEqual([name, transaction, typeof down], ["0001_x", true, "function"]);
    assert.deepEqual(sql, { up: "create table a (id int);", down: "drop table a;" });
  });

  it("has no way down where none is written, and one that does nothing where an empty one is", async () => {
    assert.equal(parse("-- migrate:up\nselect 1").down, undefined);
    assert.equal(typeof parse("-- migrate:up\nselect 1\n-- migrate:down\n").down, "function");
  });

  it("runs without a transaction when told so", () => {
    assert.equal(parse("-- migrate:up transaction:false\nselect 1").transaction, false);
    assert.equal(parse("--migrate:up transaction:true\nselect 1").transaction, true);
  });

  it("has a checksum of the way up, that neither line ends nor the way down change", () => {
    const plain = checksumOf("-- migrate:up\nselect 1;\nselect 2;\n");
    assert.match(plain ?? "", /^sha256:[0-9a-f]{64}$/);
    assert.equal(checksumOf("-- migrate:up\r\nselect 1;  \r\nselect 2;\r\n\r\n-- migrate:down\r\nselect 3"), plain);
    assert.notEqual(checksumOf("-- migrate:up\nselect 1;\nselect 3;\n"), plain);
  });

  const refused: readonly [string, RegExp][] = [
    ["", /there is no "-- migrate:up"/],
    ["select 1", /line 1: the text must begin with "-- migrate:up"/],
    ["-- migrate:down\nselect 1", /line 1: "-- migrate:down" stands where "-- migrate:up" must come/],
    ["-- migrate:up\nselect 1\n-- migrate:up\nselect 2", /line 3: .* stands where "-- migrate:down" must come/],
    ["-- migrate:up\nselect 1\n-- migrate:down\n\n-- migrate:up", /line 5: .* no other marker may come/],
    ["-- migrate:upp\nselect 1", /line 1/],
    [
      "-- migrate:up transactions:false\nselect 1",
      /"transactions:false" is no option of a marker; there is transaction:false/,
    ],
    ["-- migrate:up\n-- only this\n", /no statement below -- migrate:up/],
    ["-- migrate:up transaction:false\nselect 1\n-- migrate:down\nselect 1", /at both markers or at neither/],
    ["-- migrate:up\nselect 1; COMMIT; select 2", /"commit" would end the transaction/],
    ["-- migrate:up\nbegin;\nselect 1;\nend;", /"begin" would end the transaction/],
    ["-- migrate:up\nselect 1;\n-- migrate:down\nrollback", /"rollback" would end the transaction/],
  ];
  for (const [text, message] of refused) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(() => parse(text), { code: "ERR_OPTION_RANGE", message });
    });
  }

  for (const text of ["rollback to savepoint a", "create table commits (id int)", "do $$ begin commit; end $$"]) {
    it(`takes ${text}`, () => assert.doesNotThrow(() => parse(`-- migrate:up\n${text}`)));
  }
});

describe("splitStatements", () => {
  const cases: readonly [string, readonly string[]][] = [
    ["select 1; select 2;", ["select 1", "select 2"]],
    [";; select 1 ;;", ["select 1"]],
    ["select ';' , E'\\';', \"a;b\"; select 2", ["select ';' , E'\\';', \"a;b\"", "select 2"]],
    ["select 1 -- a; b\n; select 2 /* c; /* d; */ */;", ["select 1 -- a; b", "select 2 /* c; /* d; */ */"]],
    [
      "do $$ begin; end $$; do $x$ a; $$ b; $x$; select $1",
      ["do $$ begin; end $$", "do $x$ a; $$ b; $x$", "select $1"],
    ],
    [
      "create rule r as on insert to t do (select 1; select 2); select 3",
      ["create rule r as on insert to t do (select 1; select 2)", "select 3"],
    ],
    ["select a$1;b", ["select a$1", "b"]],
    [
      "create function f() returns int begin atomic select case when true then 1; end; end; select 2",
      ["create function f() returns int begin atomic select case when true then 1; end; end", "select 2"],
    ],
    ["-- nothing", []],
    ["select 'never ends; select 2", ["select 'never ends; select 2"]],
  ];
  for (const [text, expected] of cases) {
    it(`splits ${text}`, () => {
      assert.deepEqual(
        splitStatements(text).map((statement) => statement.text),
        expected,
      );
    });
  }

  it("tells what kind of statement it is, without comments", () => {
    const [statement] = splitStatements("/* why */ CREATE\n  Index -- how\n concurrently i on t (a)");
    assert.equal(statement?.head, "create index concurrently i on t (a)");
  });

  it("reads hostile texts to their end", () => {
    for (const part of ["'", "$a$", "/*", "((((", "e'\\", '"', "--", "*/", "$"]) splitStatements(part.repeat(50_000));
  });
});
