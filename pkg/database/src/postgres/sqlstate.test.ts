import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DatabaseError as PostgresError } from "pg";
import { assertThrown } from "../testing/until.ts";
import { type Circumstances, toConnectError, toDatabaseError } from "./sqlstate.ts";

/** As pg reads it from the wire. PgBouncer says no more than this; a server also says where in its source it was. */
function told(message: string, code: string, routine?: string): PostgresError {
  return Object.assign(new PostgresError(message, 0, "error"), {
    code,
    severity: "FATAL",
    ...(routine && { routine }),
  });
}

const circumstances = (more: Partial<Circumstances>): Circumstances => ({
  operation: "INSERT",
  undone: false,
  connectionLost: true,
  elapsedMs: 1,
  statementTimeoutMs: 0,
  ...more,
});

describe("what a pooler says when it ends a statement's connection", () => {
  for (const message of ["server conn crashed?", "client unexpected eof", "words of a later version"]) {
    it(`leaves a write in doubt, and nothing else: ${message}`, () => {
      const error = told(message, "08P01");
      const write = toDatabaseError(error, circumstances({}));
      assertThrown(write, { code: "ERR_DATABASE_OUTCOME_UNKNOWN", retryable: false });
      for (const safe of [{ undone: true }, { operation: "SELECT" }]) {
        const lost = toDatabaseError(error, circumstances(safe));
        assertThrown(lost, { code: "ERR_DATABASE_CONNECTION_LOST", retryable: true });
      }
    });
  }

  for (const message of [
    "query_wait_timeout",
    "pgbouncer cannot connect to server",
    "server login has been failing, try again later (server_login_retry)",
  ]) {
    it(`leaves no doubt where the statement never left it: ${message}`, () => {
      const error = toDatabaseError(told(message, "08P01"), circumstances({}));
      assertThrown(error, { code: "ERR_DATABASE_UNAVAILABLE", retryable: true });
      const reason = new DOMException("gone", "AbortError");
      const cancelled = toDatabaseError(told(message, "08P01"), circumstances({ abortedBy: { reason } }));
      assert.equal(cancelled.code, "ERR_DATABASE_CANCELLED");
    });
  }

  it("is not taken for what a server says of a message that it cannot read", () => {
    const error = told(
      'bind message supplies 1 parameters, but prepared statement "" requires 2',
      "08P01",
      "exec_bind",
    );
    const failed = toDatabaseError(error, circumstances({ connectionLost: false }));
    assertThrown(failed, { code: "ERR_DATABASE_QUERY", retryable: false });
  });
});

describe("a statement that took too long", () => {
  for (const [elapsedMs, statementTimeoutMs, message] of [
    [31, 30, /its limit of 30 ms; make it faster or raise statementTimeoutMs/],
    [31, 0, /a limit of the server's after 31 ms/],
    [31, 30_000, /a limit of the server's after 31 ms/],
  ] as const) {
    it(`after ${elapsedMs} ms is told of the limit that it met, where ours is ${statementTimeoutMs}`, () => {
      const error = told("canceling statement due to statement timeout", "57014", "ProcessInterrupts");
      const late = toDatabaseError(error, circumstances({ connectionLost: false, elapsedMs, statementTimeoutMs }));
      assertThrown(late, { code: "ERR_DATABASE_TIMEOUT", status: "deadline_exceeded", message });
    });
  }
});

describe("what a pooler says to a log-in", () => {
  for (const [message, code, status] of [
    ["unsupported startup parameter: statement_timeout", "ERR_DATABASE_UNSUPPORTED", "failed_precondition"],
    ["SASL authentication failed", "ERR_DATABASE_ACCESS", "internal"],
    ["no such database: notes", "ERR_DATABASE_ACCESS", "internal"],
    ["no more connections allowed (max_client_conn)", "ERR_DATABASE_UNAVAILABLE", "unavailable"],
    ["server login has been failing, try again later (server_login_retry)", "ERR_DATABASE_UNAVAILABLE", "unavailable"],
  ] as const) {
    it(`is ${code}: ${message}`, () => {
      assertThrown(toConnectError(told(message, "08P01")), { code, status });
    });
  }
});
