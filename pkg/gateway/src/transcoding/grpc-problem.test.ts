import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { toGrpcProblem } from "./grpc-problem.ts";

const { LengthDelimited, Varint } = WireType;
const writer = (): BinaryWriter => new BinaryWriter();
const text = (no: number, value: string): Uint8Array => writer().tag(no, LengthDelimited).string(value).finish();
const within = (no: number, ...parts: Uint8Array[]): Uint8Array =>
  writer().tag(no, LengthDelimited).bytes(Buffer.concat(parts)).finish();

/** A google.rpc.Status with a detail of each type, as services send it. */
function details(...all: (readonly [typeName: string, value: Uint8Array])[]): string {
  const parts = all.map(([name, value]) =>
    within(3, text(1, `type.googleapis.com/google.rpc.${name}`), within(2, value)),
  );
  return Buffer.concat([text(2, "not looked at"), ...parts]).toString("base64");
}

const retryIn = (seconds: bigint | number, nanos = 0) =>
  ["RetryInfo", within(1, writer().tag(1, Varint).int64(seconds).tag(2, Varint).int32(nanos).finish())] as const;

function problemOf(status: number | string, bin?: string, message = "m%C3%BC") {
  const { headers, body, ...rest } = toGrpcProblem(
    [
      "grpc-status",
      `${status}`,
      "grpc-message",
      message,
      ...(bin === undefined ? [] : ["grpc-status-details-bin", bin]),
    ],
    "t1",
  );
  const problem: Readonly<Record<string, unknown>> = JSON.parse(body);
  const at = headers.indexOf("retry-after");
  return { ...rest, headers, problem, retryAfter: at < 0 ? undefined : headers[at + 1] };
}

describe("an error of gRPC as problem+json", () => {
  for (const [what, detail, expected] of [
    ["whole seconds", retryIn(7), "7"],
    ["a part of one, rounded up", retryIn(0, 1), "1"],
    ["seconds and a part", retryIn(1, 500_000_000), "2"],
    ["none at all: a second", retryIn(0), "1"],
    ["less than none: a second", retryIn(-5, -1), "1"],
    ["more than a day: a day", retryIn(2n ** 62n), "86400"],
    ["nothing in it", ["RetryInfo", Buffer.alloc(0)] as const, undefined],
    ["bytes that are none", ["RetryInfo", Buffer.from([0x0a, 0x7f])] as const, undefined],
  ] as const)
    it(`says when to try again, by RetryInfo with ${what}`, () => {
      const { status, retryAfter, problem } = problemOf(8, details(detail));
      assert.deepEqual([status, retryAfter, problem["detail"]], [429, expected, "mü"]);
    });

  it("tells code, metadata, fields and whether to try again", () => {
    const entry = (key: string, value: string) => within(3, text(1, key), text(2, value));
    const info = Buffer.concat([text(1, "NO_ROOM"), text(2, "shop"), entry("shelf", "3")]);
    const fields = within(1, text(1, "book.title"), text(2, "is too long"));
    const { problem, headers } = problemOf(14, details(["ErrorInfo", info], ["BadRequest", fields], retryIn(3)));
    assert.deepEqual(problem, {
      type: "about:blank",
      title: "Service Unavailable",
      status: 503,
      code: "NO_ROOM",
      detail: "mü",
      traceId: "t1",
      retryable: true,
      metadata: { shelf: "3" },
      errors: [{ pointer: "book.title", detail: "is too long" }],
    });
    assert.deepEqual(headers, [
      "content-type",
      "application/problem+json",
      "cache-control",
      "no-store",
      "retry-after",
      "3",
    ]);
  });

  it("stands alone where its details cannot be read, or are of types that nobody here knows", () => {
    for (const bin of [
      "",
      "%",
      "AAAA",
      "/////w==",
      details(["DebugInfo", text(2, "stack")]),
      details(["ErrorInfo", text(1, "small letters")]),
    ]) {
      const { problem, retryAfter } = problemOf(5, bin);
      assert.deepEqual(
        [problem["status"], problem["code"], problem["detail"], retryAfter],
        [404, "ERR_RPC_FAILED", "mü", undefined],
      );
      assert.doesNotMatch(JSON.stringify(problem), /stack/);
    }
  });

  it("has a status for each code, and tells nothing of a fault of the service itself", () => {
    const statuses = Array.from({ length: 17 }, (_, code) => problemOf(code).status);
    assert.deepEqual(statuses, [500, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401]);
    for (const code of [2, 13, 15, 17, -1, "", "x", "1.5"]) {
      const { status, problem, retryAfter } = problemOf(
        code,
        details(["ErrorInfo", text(1, "SECRET")], retryIn(3)),
        "a password",
      );
      assert.deepEqual([status, problem["code"], retryAfter], [500, "ERR_INTERNAL", undefined], String(code));
      assert.doesNotMatch(JSON.stringify(problem), /SECRET|password/);
    }
  });

  it("keeps a text that is no escape as it is, and none that is too long", () => {
    assert.equal(problemOf(5, undefined, "100%").problem["detail"], "100%");
    assert.equal(String(problemOf(5, undefined, "x".repeat(9_000)).problem["detail"]).length, 2_048);
    assert.equal(problemOf(5, undefined, "").problem["detail"], "the call failed: not_found");
  });
});
