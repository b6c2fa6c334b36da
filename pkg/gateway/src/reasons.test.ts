import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { problemBody } from "./problem.ts";
import { type Reason, reasons } from "./reasons.ts";

const names = Object.keys(reasons) as Reason[];

describe("reasons", () => {
  // Those that need servers of other packages stand in folders of their own.
  const root = join(import.meta.dirname, "../../..");
  const tests = globSync(
    ["pkg/gateway/src/**/*.test.ts", "test/gateway/**/*.test.ts", "test/conformance/tables/*.ts"],
    {
      cwd: root,
    },
  )
    .filter((file) => !file.endsWith("/reasons.test.ts"))
    .map((file) => readFileSync(join(root, file), "utf8"));

  for (const name of names) {
    it(`${name} is provoked by a test`, () => {
      assert.ok(tests.some((text) => new RegExp(`["' ]${name}["']`).test(text)));
    });
  }

  it("have fixed texts without internals, and an HTTP status of errors", () => {
    for (const [name, { status, detail, help }] of Object.entries(reasons)) {
      assert.match(name, /^[a-z]+(_[a-z]+)+$/);
      assert.ok(status >= 400 && status < 600);
      assert.match(detail, /^[a-z].*[^.]$/, "a clause for a person");
      assert.match(help, /^[A-Z].*\.$/, "sentences for an operator");
    }
  });

  it("become problem details", () => {
    assert.deepEqual(JSON.parse(problemBody("rate_limited", "t1")), {
      type: "about:blank",
      title: "Too Many Requests",
      status: 429,
      code: "ERR_GATEWAY_RATE_LIMITED",
      reason: "rate_limited",
      detail: "too many requests",
      retryable: true,
      traceId: "t1",
    });
    assert.equal((JSON.parse(problemBody("invalid_target", undefined, "exact")) as { detail: string }).detail, "exact");
  });
});
