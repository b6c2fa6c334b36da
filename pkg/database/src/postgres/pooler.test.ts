import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { poolerFaultOf, requirePoolerMode, scopeText, sessionGuard } from "./pooler.ts";

describe("sessionGuard", () => {
  const guard = sessionGuard();

  for (const [text, instead] of [
    ["set search_path to other", /^SET: .*`set local`/],
    ["  /* a comment */ SET\n session statement_timeout = 0", /`set local`/],
    ["-- first\nset role admin", /`set local`/],
    ["reset all", /`set local`/],
    ["discard all", /leave it to the pooler/],
    ["listen news", /past|without the pooler/],
    ["unlisten *", /without the pooler/],
    ["prepare plan as select 1", /send the statement itself/],
    ["deallocate all", /send the statement itself/],
    ["load 'auto_explain'", /session_preload_libraries/],
    ["begin", /`transaction\(\)`/],
    ["START TRANSACTION", /`transaction\(\)`/],
    ["commit", /`transaction\(\)`/],
    ["end", /`transaction\(\)`/],
    ["rollback", /`transaction\(\)`/],
    ["declare c cursor with hold for select 1", /`stream\(\)`/],
    ["create temp table t (n int)", /on commit drop/],
    ["create local temporary table t (n int)", /on commit drop/],
    ["select 1 as n into temp t", /on commit drop/],
    ["select pg_advisory_lock(1)", /pg_advisory_xact_lock/],
    ["select pg_catalog.pg_try_advisory_lock_shared (1)", /pg_advisory_xact_lock/],
    ["select pg_advisory_unlock_all()", /pg_advisory_xact_lock/],
    ["select set_config('search_path', $1, false)", /true as its third argument/],
    ["select SET_CONFIG ('a.b', coalesce('x', 'y'), 'f')", /true as its third argument/],
    ["select 1; set search_path to other", /^SET: /],
    ["do $$ begin end $$; reset all", /^RESET: /],
  ] as const) {
    it(`refuses ${text.replaceAll(/\s+/g, " ")}, and says what to do instead, each time`, () => {
      for (const time of [1, 2]) {
        assert.throws(() => guard(text), { code: "ERR_DATABASE_UNSUPPORTED", message: instead }, `time ${time}`);
      }
    });
  }

  for (const text of [
    "select 1",
    "select 'a; set search_path to other'",
    'select "set" from settings -- ; reset all',
    "update settings set value = $1",
    "set local search_path to other",
    "set transaction isolation level serializable",
    "set constraints all deferred",
    "savepoint here",
    "rollback to here",
    "rollback to savepoint here",
    "release here",
    "notify news",
    "create temp table t (n int) on commit drop",
    "select pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2)",
    "select set_config('search_path', 'other', true)",
    "create function f() returns int language sql begin atomic select 1; end",
    "do $$ begin perform 1; end $$",
    "create table beginners (id int)",
    "insert into reset values (1)",
  ]) {
    it(`lets ${text} through`, () => guard(text));
  }

  it("looks through a text far longer than what is kept", () => {
    const long = `select ${"1,".repeat(20_000)} 1`;
    guard(long);
    assert.throws(() => guard(`${long}; reset all`), { code: "ERR_DATABASE_UNSUPPORTED" });
  });
});

describe("what a begin sets", () => {
  it("is the schema and the limits, those alone that there are", () => {
    const scope = { schema: "notes", statementTimeoutMs: 5_000, idleInTransactionTimeoutMs: 0 };
    assert.equal(scopeText(scope), 'set local search_path to "notes"; set local statement_timeout to 5000');
    assert.equal(
      scopeText({ schema: 'a"; drop', statementTimeoutMs: 0, idleInTransactionTimeoutMs: 7 }),
      'set local search_path to "a""; drop"; set local idle_in_transaction_session_timeout to 7',
    );
  });
});

describe("what a pooler says", () => {
  for (const [message, fault] of [
    ["query_wait_timeout", "never-sent"],
    ["pgbouncer cannot connect to server", "never-sent"],
    ["server login has been failing, try again later (server_login_retry)", "never-sent"],
    ["unsupported startup parameter: statement_timeout", "parameter"],
    ["SASL authentication failed", "access"],
    ["no such database: notes", "access"],
    ["server conn crashed?", "lost"],
    ["anything of a later version", "lost"],
  ] as const) {
    it(`is taken for ${fault}: ${message}`, () => assert.equal(poolerFaultOf(message), fault));
  }
});

describe("requirePoolerMode", () => {
  it("refuses any other word", () => {
    requirePoolerMode("transaction");
    assert.throws(() => requirePoolerMode("statement"), {
      code: "ERR_OPTION_RANGE",
      message: 'pooler must be one of none, session, transaction, not "statement"',
    });
  });
});
