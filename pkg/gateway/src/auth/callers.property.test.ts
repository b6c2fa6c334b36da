import assert from "node:assert/strict";
import { env } from "node:process";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { authSchema, type ClaimRuleConfig } from "../config/schema-auth.ts";
import { toIdentityHeaders } from "../headers/outgoing.ts";
import { toClaimHeaders } from "./claim-headers.ts";
import { Requirement } from "./requirement.ts";
import { TokenSource } from "./token-source.ts";

/** `PLINTH_FUZZ_RUNS=200000` for a long look; with `PLINTH_FUZZ_SEED`, at other callers. */
const options = {
  numRuns: Number(env["PLINTH_FUZZ_RUNS"] ?? 400),
  seed: Number(env["PLINTH_FUZZ_SEED"] ?? 20_261_123),
};

const words = fc.array(fc.constantFrom("a", "b", "c", "a b", "A"), { maxLength: 3 });
const needed = fc.oneof(
  fc.constant<string[]>([]),
  fc.constant<string[]>([]),
  words,
  fc.record({ any: fc.array(fc.constantFrom("a", "b"), { minLength: 1, maxLength: 2 }) }),
);
const scalar = fc.constantFrom<string | number | boolean>("x", "x", "x", "1", "true", "", 1, 0, true, false);
const name = fc.oneof(fc.constantFrom("t", "u"), fc.constantFrom("v.w", "toString", "__proto__", "length", "0"));
const path = fc.oneof(name, fc.array(name, { minLength: 1, maxLength: 3 }));
const leaf: fc.Arbitrary<ClaimRuleConfig> = fc.oneof(
  fc.record({ claim: path, equals: scalar }),
  fc.record({ claim: path, oneOf: fc.array(scalar, { minLength: 1, maxLength: 3 }) }),
  fc.record({ claim: path, contains: scalar }),
);
const rule: fc.Arbitrary<ClaimRuleConfig> = fc.letrec<{ rule: ClaimRuleConfig }>((tie) => ({
  rule: fc.oneof(
    { maxDepth: 2 },
    leaf,
    fc.record({ any: fc.array(tie("rule"), { minLength: 1, maxLength: 3 }) }),
    fc.record({ all: fc.array(tie("rule"), { minLength: 1, maxLength: 3 }) }),
  ),
})).rule;
const value = fc.oneof(
  scalar,
  fc.array(scalar, { maxLength: 3 }),
  fc.constantFrom<unknown>(null, {}, [], [["x"]], { t: "x" }, { t: { u: "x" } }),
  fc.string({ unit: "binary", maxLength: 5 }),
);
/** As JSON.parse makes them: a member may be called `__proto__`. */
const claims = fc
  .array(fc.tuple(name, value), { maxLength: 4 })
  .map((all): Record<string, unknown> => Object.fromEntries(all));

/** What is at a path in JSON: its text is gone through, so that nothing that is not written there is found. */
function at(given: unknown, [first, ...rest]: readonly string[]): unknown {
  if (first === undefined) return given;
  if (typeof given !== "object" || given === null || Array.isArray(given)) return undefined;
  return at(Object.entries(given).find(([key]) => key === first)?.[1], rest);
}

function holds({ claim, equals, oneOf, contains, any, all }: ClaimRuleConfig, given: unknown): boolean {
  if (any) return any.some((each) => holds(each, given));
  if (all) return all.every((each) => holds(each, given));
  const found = at(given, typeof claim === "string" ? [claim] : (claim ?? []));
  if (contains !== undefined) return Array.isArray(found) && found.some((each) => each === contains);
  return (oneOf ?? [equals]).some((each) => each !== undefined && each === found);
}

describe("a caller", () => {
  it("may what the rules of a route say, read slowly, and nothing else", () => {
    const seen = new Set<string | undefined>();
    const asked = fc.record({ scopes: words, roles: words, claims });
    const rules = fc.record({ scopes: needed, roles: needed, claims: fc.option(rule, { nil: undefined }) });
    fc.assert(
      fc.property(rules, asked, (config, caller) => {
        const parsed = authSchema.safeParse(config);
        if (!parsed.success) return; // a scope with a space in it
        const has = (wanted: typeof config.scopes, given: readonly string[]): boolean =>
          "any" in wanted
            ? wanted.any.some((word) => given.includes(word))
            : wanted.every((word) => given.includes(word));
        const expected = !has(config.scopes, caller.scopes)
          ? "scope_missing"
          : !has(config.roles, caller.roles)
            ? "role_missing"
            : config.claims && !holds(config.claims, caller.claims)
              ? "claim_refused"
              : undefined;
        assert.equal(new Requirement(parsed.data).refusalOf(caller), expected);
        seen.add(expected);
      }),
      options,
    );
    assert.equal(seen.size, 4);
  });

  it("is told to services in headers that end no line, and that say what the token said", () => {
    const any = fc.string({ unit: "binary", maxLength: 8 });
    fc.assert(
      fc.property(any, any, fc.array(any, { maxLength: 3 }), claims, (subject, issuer, scopes, given) => {
        const identity = toIdentityHeaders({ subject, issuer, scopes });
        for (const text of [identity.subject, identity.issuer, identity.scopes]) assert.match(text, /^[ -~]*$/);
        assert.equal(decodeURIComponent(identity.subject), subject.toWellFormed());
        assert.deepEqual(identity.scopes.split(" ").map(decodeURIComponent).join(" "), scopes.join(" ").toWellFormed());
        const { flat, unusable } = toClaimHeaders(given, {
          "plinth-t": "t",
          "plinth-u": ["u", "t"],
          "plinth-p": "__proto__",
        });
        for (const text of flat) assert.match(text, /^[ -~]*$/);
        if (unusable !== undefined) assert.deepEqual(flat, []);
        const t = at(given, ["t"]);
        const place = flat.indexOf("plinth-t");
        if (typeof t === "string" && unusable === undefined)
          assert.equal(decodeURIComponent(flat[place + 1] ?? ""), t.toWellFormed());
        else if (t === undefined || t === null) assert.equal(place, -1);
      }),
      options,
    );
  });
});

describe("a token that a route takes from a cookie or a header", () => {
  const pair = fc.constantFrom(
    "token=x",
    "token=y=z",
    " token = x",
    "Token=x",
    "token2=x",
    "a=1",
    "a=token=x",
    "token",
    "",
    "=",
    'b="c',
    "xtoken=x",
  );
  const head = fc.array(
    fc.tuple(
      fc.constantFrom("cookie", "Cookie", "x-token", "X-Token", "x-tokens", "accept"),
      fc.array(pair, { maxLength: 4 }).map((all) => all.join(";")),
    ),
    { maxLength: 4 },
  );
  /** Name and value of each cookie, in the order of the lines. */
  const cookiesOf = (lines: readonly (readonly [string, string])[]): string[][] =>
    lines
      .filter(([each]) => /^cookie$/i.test(each))
      .flatMap(([, text]) => text.split(";"))
      .map((text) => [
        text.split("=", 1).join("").trim(),
        text.includes("=") ? text.slice(text.indexOf("=") + 1).trim() : "",
      ])
      .filter(([own, text]) => own !== "" || text !== "");

  const blanksIn = (lines: readonly (readonly [string, string])[]): number =>
    lines.filter(([each, text]) => /^cookie$/i.test(each) && text.trim() === "").length;

  it("is the only one there is, and reaches no service: what else is there stays", () => {
    fc.assert(
      fc.property(
        head,
        fc.boolean(),
        fc.boolean(),
        fc.option(fc.constant("Bearer x"), { nil: undefined }),
        (lines, isCookie, keep, authorization) => {
          const source = new TokenSource(isCookie ? { cookie: "token" } : { header: "x-token" }, keep);
          const headers = lines.flat();
          const taken = source.take({ headers, authorization });
          const tokens = isCookie
            ? cookiesOf(lines).filter(([own]) => own === "token")
            : lines.filter(([each]) => /^x-token$/i.test(each));
          if (tokens.length > 1 || (tokens.length === 1 && authorization !== undefined)) {
            assert.equal(taken, "ambiguous");
            return;
          }
          assert.deepEqual(taken, { token: tokens[0]?.[1] });
          const left = headers.flatMap((each, index): [string, string][] =>
            index % 2 === 0 ? [[each, headers[index + 1] ?? ""]] : [],
          );
          if (keep) assert.deepEqual(left, lines);
          else if (isCookie) {
            assert.deepEqual(
              cookiesOf(left),
              cookiesOf(lines).filter(([own]) => own !== "token"),
            );
            assert.deepEqual(
              left.filter(([each]) => !/^cookie$/i.test(each)),
              lines.filter(([each]) => !/^cookie$/i.test(each)),
            );
            assert.ok(blanksIn(left) <= blanksIn(lines), "a line that held the token alone is gone");
          } else
            assert.deepEqual(
              left,
              lines.filter(([each]) => !/^x-token$/i.test(each)),
            );
        },
      ),
      { ...options, examples: [[[["cookie", "token=x;"]], true, false, undefined]] },
    );
  });
});
