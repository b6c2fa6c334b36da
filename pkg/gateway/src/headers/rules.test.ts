import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { edit, fillRules, toHeaderRules } from "./rules.ts";
import { claimsIn, fillTemplate, parseTemplate, type TemplateFacts } from "./template.ts";

const facts: TemplateFacts = { requestId: "r1", routeName: "notes", clientAddress: "::1", claims: { sub: "ada" } };

function fill(text: string, claims: Record<string, unknown> = {}): string | undefined | null {
  const template = parseTemplate(text);
  assert.ok(typeof template !== "string", text);
  return fillTemplate(template, { ...facts, claims });
}

describe("a header's template", () => {
  it("is filled from a fixed list", () => {
    assert.equal(fill("${request.id} ${route.name}/${client.address}$"), "r1 notes/::1$");
    assert.equal(fill("<${claim.sub}>", { sub: "ada" }), "<ada>");
    assert.equal(fill("${claim.https://x.example/org}", { "https://x.example/org": "o1" }), "o1");
    assert.equal(fill(""), "");
    assert.deepEqual(claimsIn("a${claim.b}${request.id}${claim.c}"), ["b", "c"]);
  });

  for (const [text, problem] of [
    ["${request.idd}", /request\.id/],
    ["${env.HOME}", /there is no/],
    ["${request.id", /not closed/],
    ["${}", /there is no/],
    ["${claim.}", /there is no/],
    ["${${request.id}}", /there is no/],
    ["a\r\nb", /ASCII/],
    ["a\u0000", /ASCII/],
    ["caf\u00e9", /ASCII/],
  ] as const) {
    it(`is refused as ${JSON.stringify(text)}`, () => assert.match(String(parseTemplate(text)), problem));
  }

  it("takes text, numbers, yes and no, and lists of them from a claim, and nothing else", () => {
    assert.equal(fill("${claim.a}", { a: 7 }), "7");
    assert.equal(fill("${claim.a}", { a: true }), "true");
    assert.equal(fill("${claim.a}", { a: ["x", 1] }), "x,1");
    assert.equal(fill("${claim.a}", { a: ["x", ["y"]] }), undefined);
    assert.equal(fill("${claim.a}", { a: { b: 1 } }), undefined);
    assert.equal(fill("${claim.a}", { a: null }), undefined);
    assert.equal(fill("${claim.a}"), undefined);
    assert.equal(fill("${claim.toString}"), undefined);
    assert.equal(fill("${claim.__proto__}"), undefined);
  });

  it("escapes what a header cannot hold, and refuses control characters and too much", () => {
    assert.equal(fill("${claim.a}", { a: "Zo\u00eb 100%" }), "Zo%C3%AB 100%25");
    assert.equal(fill("${claim.a}", { a: "\ud800" }), "%EF%BF%BD");
    for (const char of ["\r", "\n", "\u0000", "\u001b", "\u007f"]) {
      assert.equal(fill("x-${claim.a}", { a: `1${char}x-admin: 1` }), null);
    }
    assert.equal(fill("${claim.a}", { a: "x".repeat(4_097) }), null);
  });

  it("never makes a value that could end its line, whatever a claim holds", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: "binary" }), fc.anything()), (a) => {
        const value = fill("<${claim.a}>", { a });
        assert.ok(value === null || value === undefined || /^[\t -~]*$/.test(value));
      }),
      { seed: 20_261_123, numRuns: 2_000 },
    );
  });
});

describe("rules of headers", () => {
  it("set in place of every line of the name, add beside, and remove", () => {
    const rules = toHeaderRules({ set: { "x-a": "${route.name}" }, add: { "x-b": "2" }, remove: ["x-c"] });
    const edits = rules && fillRules(rules, facts);
    assert.ok(edits);
    const head = ["X-A", "0", "x-b", "1", "X-c", "3", "x-a", "00", "x-d", "4"];
    edit(head, edits);
    assert.deepEqual(head, ["x-b", "1", "x-d", "4", "x-a", "notes", "x-b", "2"]);
    assert.equal(toHeaderRules({}), undefined);
    assert.equal(toHeaderRules(undefined), undefined);
  });

  it("leave a header out whose claim is absent, and take the client's away all the same", () => {
    const rules = toHeaderRules({ set: { "x-org": "${claim.org}" } });
    const edits = rules && fillRules(rules, facts);
    assert.ok(edits);
    const head = ["x-org", "forged"];
    edit(head, edits);
    assert.deepEqual(head, []);
  });
});
