import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseDocument } from "./document.ts";

describe("limits of the document", () => {
  const limit = { limit: 10, windowMs: 1_000 };
  const route = { name: "a", match: { path: "/" }, service: "s", anonymous: true } as const;
  for (const [what, document, expected] of [
    [
      "a name that is not there",
      { rateLimits: { notes: limit }, routes: [{ ...route, rateLimit: ["notes", "note"] }] },
      /routes\.0\.rateLimit\.1: there is no "note" under rateLimits; did you mean "?notes/,
    ],
    [
      "a name twice",
      { rateLimits: { notes: limit }, routes: [{ ...route, rateLimit: ["notes", "notes"] }] },
      /routes\.0\.rateLimit\.1: "notes" stands here twice/,
    ],
    ["a cost without a limit", { routes: [{ ...route, rateLimitCost: 2 }] }, /rateLimitCost: there is no `rateLimit`/],
    [
      "a cost that no request could pay",
      { routes: [{ ...route, rateLimit: { ...limit, burst: { limit: 3, windowMs: 100 } }, rateLimitCost: 4 }] },
      /rateLimitCost: is more than the 3 that "a" ever lets through/,
    ],
    [
      "a burst that limits nothing",
      { rateLimits: { notes: { ...limit, burst: limit } }, routes: [] },
      /notes\.burst\.limit: must be below the limit of 10(?:.|\n)*notes\.burst\.windowMs: must be below/,
    ],
    [
      "a limit of a route with the name of a shared one",
      { rateLimits: { a: limit }, routes: [{ ...route, rateLimit: limit }] },
      /routes\.0\.rateLimit: there is a "a" under rateLimits/,
    ],
    [
      "a header that no service gets",
      { rateLimits: { notes: { ...limit, by: { header: "x-forwarded-for" } } }, routes: [] },
      /expected a header that reaches services/,
    ],
  ] as const) {
    it(`may not have ${what}`, () => {
      assert.throws(() => parseDocument(document, { name: "code", places: new Map() }), {
        code: "ERR_GATEWAY_CONFIG",
        message: expected,
      });
    });
  }
});
