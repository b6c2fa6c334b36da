import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toCompressionRules } from "../config/schema-compression.ts";
import { headerOf } from "../router/conditions.ts";
import { codingFor, weakenNotModified } from "./decide.ts";

const usual = toCompressionRules(true);
assert.ok(usual);
const rules = { ...usual, minBytes: 100, types: ["text/*", "application/json", "application/*+json"] };
const html = ["content-type", "text/html; charset=utf-8"];

describe("whether a reply may be compressed", () => {
  const table: readonly (readonly [
    what: string,
    reply: readonly string[],
    expected: "gzip" | "varies" | "untouched",
    more?: { status?: number; request?: readonly string[]; hasToken?: boolean; authenticated?: boolean },
  ])[] = [
    ["a page", html, "gzip"],
    ["a page that is long enough", [...html, "content-length", "100"], "gzip"],
    ["one that is short", [...html, "content-length", "99"], "untouched"],
    ["one that is empty", [...html, "content-length", "0"], "untouched"],
    ["a structured suffix", ["content-type", "application/problem+json"], "gzip"],
    ["another type", ["content-type", "image/png"], "untouched"],
    ["a bare suffix", ["content-type", "application/+json"], "untouched"],
    ["no type", [], "untouched"],
    ["server-sent events, which only their name means", ["content-type", "text/event-stream"], "untouched"],
    ["gRPC", ["content-type", "application/grpc+json"], "untouched"],
    ["what is coded already", [...html, "content-encoding", "br"], "untouched"],
    ["what says that it is not coded", [...html, "content-encoding", "identity"], "gzip"],
    ["no-transform", [...html, "cache-control", "public, No-Transform"], "untouched"],
    ["a digest of the bytes", [...html, "content-digest", "sha-256=:x:"], "untouched"],
    ["a range in a 200", [...html, "content-range", "bytes 0-1/2"], "untouched"],
    ["206", html, "untouched", { status: 206 }],
    ["204", html, "untouched", { status: 204 }],
    ["an error page", html, "gzip", { status: 404 }],
    [
      "a client that wants it whole",
      html,
      "varies",
      { request: ["cache-control", "no-transform", "accept-encoding", "gzip"] },
    ],
    ["a client that wants none", html, "varies", { request: [] }],
    ["a cookie", html, "varies", { request: ["Cookie", "a=1", "accept-encoding", "gzip"] }],
    ["a token", html, "varies", { request: ["authorization", "x", "accept-encoding", "gzip"] }],
    ["a route with a token elsewhere", html, "varies", { hasToken: true }],
    ["a reply that sets a cookie", [...html, "set-cookie", "a=1"], "varies"],
    [
      "all of that where it is allowed",
      [...html, "set-cookie", "a=1"],
      "gzip",
      { hasToken: true, authenticated: true },
    ],
  ];
  for (const [what, reply, expected, more = {}] of table) {
    it(`${what}: ${expected}`, () => {
      const { status = 200, request = ["accept-encoding", "gzip"], hasToken = false, authenticated = false } = more;
      const headers = [...reply];
      const coding = codingFor({ ...rules, authenticated }, status, headers, { requestHeaders: request, hasToken });
      assert.equal(coding, expected === "gzip" ? "gzip" : undefined);
      assert.equal(headerOf(headers, "vary"), expected === "untouched" ? undefined : "accept-encoding");
    });
  }

  it("says so in Vary beside what is there, and once", () => {
    const vary = (value: string): string | undefined => {
      const headers = [...html, "Vary", value];
      codingFor(rules, 200, headers, { requestHeaders: [], hasToken: false });
      return headerOf(headers, "vary");
    };
    assert.deepEqual(
      [vary("origin"), vary("*"), vary("Origin, Accept-Encoding")],
      ["origin, accept-encoding", "*", "Origin, Accept-Encoding"],
    );
  });

  it("weakens the tag of a 304 for who asked by the weak one alone", () => {
    const tag = (asked: string | undefined): string | undefined => {
      const headers = ["etag", '"v1"'];
      weakenNotModified(headers, asked === undefined ? [] : ["if-none-match", asked]);
      return headerOf(headers, "etag");
    };
    assert.deepEqual([tag('W/"v1"'), tag('"v1"'), tag('W/"v2"'), tag(undefined)], ['W/"v1"', '"v1"', '"v1"', '"v1"']);
  });
});
