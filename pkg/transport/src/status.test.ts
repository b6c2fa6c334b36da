import assert from "node:assert/strict";
import { STATUS_CODES } from "node:http";
import { describe, it } from "node:test";
import { status as grpcStatus } from "@grpc/grpc-js";
import { AppError, statuses, isServerFault } from "@plinth/kernel";
import { RequestError, toPointer } from "./errors.ts";
import { budgetOf, safeRequestIdOf } from "./exchange.ts";
import { problemText, toProblem } from "./problem.ts";
import { fromHttpStatus, isIncident, toConnectCode, toGrpcCode, toHttpStatus } from "./status.ts";

describe("the status table", () => {
  for (const status of statuses) {
    it(`has ${status} under the number and name of the gRPC library, and back and forth over HTTP`, () => {
      assert.equal(grpcStatus[toGrpcCode(status)], status.toUpperCase());
      assert.equal(toConnectCode(status), status === "cancelled" ? "canceled" : status);
      const http = toHttpStatus(status);
      assert.equal(toHttpStatus(fromHttpStatus(http)), http);
      assert.ok(http === 499 || STATUS_CODES[http] !== undefined);
      assert.equal(isServerFault(status), http === 500);
    });
  }

  it("tells operators of failures of the server, and of nothing that a caller did", () => {
    assert.deepEqual(statuses.filter(isIncident), [
      "unknown",
      "deadline_exceeded",
      "internal",
      "unavailable",
      "data_loss",
    ]);
  });

  it("gives each status a number of its own", () => {
    assert.equal(new Set(statuses.map(toGrpcCode)).size, statuses.length);
    assert.equal(new Set(statuses.map(toConnectCode)).size, statuses.length);
  });

  it("takes what it does not know for the caller's or the server's fault by its first digit", () => {
    assert.deepEqual([402, 418, 451].map(fromHttpStatus), ["invalid_argument", "invalid_argument", "invalid_argument"]);
    assert.deepEqual([505, 599, 302, 200, 0, Number.NaN].map(fromHttpStatus), Array(6).fill("unknown"));
  });
});

describe("a problem", () => {
  it("tells a caller what concerns it", () => {
    const error = new AppError("ERR_NOTE", "not_found", "no such note", {
      metadata: { id: "7" },
      cause: new Error("secret"),
    });
    assert.deepEqual(toProblem(error, { traceId: "abc" }), {
      type: "about:blank",
      title: "Not Found",
      status: 404,
      code: "ERR_NOTE",
      detail: "no such note",
      traceId: "abc",
      metadata: { id: "7" },
    });
    assert.deepEqual(toProblem(new RequestError([{ pointer: "/a", detail: "is odd" }])).errors, [
      { pointer: "/a", detail: "is odd" },
    ]);
  });

  for (const status of ["internal", "unknown", "data_loss"] as const) {
    it(`tells nothing of a fault of the server: ${status}`, () => {
      const error = new AppError("ERR_SECRET", status, "secret", { metadata: { secret: "secret" }, retryable: true });
      const problem = toProblem(error);
      assert.deepEqual([problem.code, problem.status, problem.title], ["ERR_INTERNAL", 500, "Internal Server Error"]);
      assert.doesNotMatch(JSON.stringify(problem), /secret/i);
    });
  }

  it("has a title also for statuses without a standard one", () => {
    const { title, headers, text } = problemText(toProblem(new AppError("ERR_CANCELLED", "cancelled", "gone — é")));
    assert.equal(title, "Error");
    assert.equal(headers["content-length"], String(Buffer.byteLength(text)));
  });
});

describe("a JSON pointer", () => {
  it("escapes what has a meaning in it", () => {
    assert.equal(toPointer("", []), "");
    assert.equal(toPointer("/query", ["a/b", 0, "m~n", ""]), "/query/a~1b/0/m~0n/");
  });
});

describe("budgetOf", () => {
  it("takes the caller's time when it is shorter, and says whose it is", () => {
    const server = { ms: 100, isCallers: false };
    assert.deepEqual(budgetOf("20", server), { ms: 20, isCallers: true });
    assert.deepEqual(budgetOf("0", server), { ms: 1, isCallers: true });
    assert.equal(budgetOf("100", server), server);
    for (const given of [undefined, ["1", "2"], "", " 1", "1 ", "+1", "0x1", "12345678901"])
      assert.equal(budgetOf(given, server), server);
  });
});

describe("safeRequestIdOf", () => {
  it("takes only what is safe everywhere", () => {
    assert.equal(safeRequestIdOf("a-b_c.d:9"), "a-b_c.d:9");
    for (const given of [undefined, 12345678, ["abcdefgh"], "abcdefg", "abcdefgh\n", "abc/defgh", "x".repeat(129)])
      assert.equal(safeRequestIdOf(given), undefined);
  });
});
