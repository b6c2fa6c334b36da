import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { canonicalPath } from "../path.ts";
import { parsePattern } from "./pattern.ts";
import { applyRewrite, parseRewrite } from "./rewrite.ts";

function rewrite(text: string, from: string): (path: string) => string | undefined {
  const pattern = parsePattern(from);
  assert.ok(typeof pattern === "object", from);
  const template = parseRewrite(text, pattern);
  assert.ok(typeof template === "object", JSON.stringify(template));
  return (path) => applyRewrite(template, path);
}

describe("a path by a template", () => {
  it("refuses a result that is not canonical, whoever made the template", () => {
    for (const parts of [["..", "a"], ["a", "", "b"], ["%61"], [".", 0]]) {
      assert.equal(applyRewrite({ parts, restFrom: -1 }, "/x"), undefined, parts.join("/"));
    }
  });

  it("is canonical for whatever a client sends", () => {
    const toV2 = rewrite("/v2/:b/:a/**", "/x/:a/:b/**");
    const piece = fc.constantFrom(
      "a",
      "..",
      ".",
      "%2e",
      "%2e%2e",
      ";",
      "%3b",
      "%25",
      "%2541",
      "\u00e9",
      "~",
      "",
      "a b",
      "%2f",
    );
    fc.assert(
      fc.property(fc.array(fc.array(piece, { maxLength: 3 }), { minLength: 2, maxLength: 5 }), (segments) => {
        const path = canonicalPath(`/x/${segments.map((parts) => parts.join("")).join("/")}`);
        if (typeof path !== "string" || !/^\/x\/[^/]+\/[^/]+/.test(path)) return;
        const rewritten = toV2(path);
        assert.ok(rewritten !== undefined);
        assert.equal(canonicalPath(rewritten), rewritten);
        const [, , a = "", b = ""] = path.split("/");
        assert.ok(rewritten.startsWith(`/v2/${b}/${a}`));
      }),
      { seed: 20_261_123, numRuns: 2_000 },
    );
  });
});
