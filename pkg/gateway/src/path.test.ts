import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { canonicalPath, parseTarget } from "./path.ts";

describe("canonicalPath", () => {
  const same = [
    "/",
    "/notes",
    "/notes/",
    "/notes/42",
    "/a.b/c~d/e-f_g",
    "/a:b@c!$&'()*+,=",
    "/...",
    "/a/..b",
    "/b../c",
    "/.well-known/x",
    "/a%20b",
    "/caf%C3%A9",
    "/a%3Bb",
    "/a;x=1",
    "/%2541",
  ];
  for (const path of same) it(`leaves ${path} as it is`, () => assert.equal(canonicalPath(path), path));

  const changed: readonly (readonly [string, string])[] = [
    ["/adm%69n", "/admin"],
    ["/%61dmin", "/admin"],
    ["/%7euser", "/~user"],
    ["/caf%c3%a9", "/caf%C3%A9"],
    ["/a%3bb", "/a%3Bb"],
    ["//admin", "/admin"],
    ["/a//b///c", "/a/b/c"],
    ["/./admin", "/admin"],
    ["/admin/.", "/admin/"],
    ["/admin/..", "/"],
    ["/a/b/../c", "/a/c"],
    ["/a/b/..", "/a/"],
    ["/%2e%2e/admin", "/admin"],
    ["/%2E%2E/%2e/admin", "/admin"],
    ["/public/%2e%2e/admin", "/admin"],
    ["/../../admin", "/admin"],
    ["/..", "/"],
    ["/api%2e%2e/admin", "/api../admin"],
    ["/admin%252f", "/admin%252f"],
    ["/a|b", "/a%7Cb"],
    ['/a"<>[]^`{}', "/a%22%3C%3E%5B%5D%5E%60%7B%7D"],
    ["/a%7cb", "/a%7Cb"],
  ];
  for (const [path, canonical] of changed) {
    it(`makes ${path} into ${canonical}`, () => assert.equal(canonicalPath(path), canonical));
  }

  const refused = [
    "/admin%2f..%2fpublic",
    "/public/..%2Fadmin",
    "/admin%5c",
    "/admin\\",
    "/a\\..\\b",
    "/admin%00",
    "/a%0d%0ab",
    "/a%1Fb",
    "/a%7f",
    "/%",
    "/%z",
    "/%zz",
    "/%4",
    "/a%",
    "/%ff",
    "/%c0%af",
    "/%C3",
    "/%ED%A0%80",
    "/%F4%90%80%80",
    "/a#b",
    "/a b",
    "/a\tb",
    "/\u0000",
    "/caf\u00e9",
    "/public/..;/admin",
    "/public/..;x=1/admin",
    "/public/%2e%2e;/admin",
    "/public/.%3b/admin",
    "/public/..%3Bx/admin",
  ];
  for (const path of refused) {
    it(`refuses ${JSON.stringify(path)}`, () => {
      const result = canonicalPath(path);
      assert.ok(typeof result === "object" && result.fault.length > 0, `got ${JSON.stringify(result)}`);
    });
  }

  it("changes nothing the second time, and leaves no dot segment, empty segment or decodable escape, for 50 000 random paths", () => {
    const parts = [
      "/",
      "//",
      ".",
      "..",
      "%2e",
      "%2E",
      "a",
      "B",
      "%41",
      "%61",
      "%20",
      "%25",
      "%252e",
      "%3b",
      ";",
      "x=1",
      "%c3%a9",
      "~",
      "%7E",
      "|",
      "[",
      "@",
      "%40",
      "%",
      "%2f",
      "\\",
      "#",
      "%00",
    ];
    let state = 42;
    const random = (below: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7f_ff_ff_ff;
      return (state >> 8) % below;
    };
    let accepted = 0;
    for (let i = 0; i < 50_000; i++) {
      const path = `/${Array.from({ length: random(9) }, () => parts[random(parts.length)]).join("")}`;
      const once = canonicalPath(path);
      if (typeof once !== "string") continue;
      accepted++;
      assert.equal(canonicalPath(once), once, path);
      assert.match(once, /^\//);
      const segments = once.slice(1).split("/");
      if (segments.at(-1) === "") segments.pop();
      assert.ok(!segments.some((segment) => ["", ".", ".."].includes(segment)), `${path} → ${once}`);
      assert.doesNotMatch(once, /%(?:4[1-9A-F]|6[1-9A-F]|3[0-9]|2[DdEe]|7[Ee])|%[0-9A-F]?[a-f]/, `${path} → ${once}`);
      for (const segment of segments) assert.doesNotMatch(decodeURIComponent(segment), /[/\\]/);
    }
    assert.ok(accepted > 5_000, `${accepted} accepted`);
  });
});

describe("parseTarget", () => {
  it("splits path and query, and leaves the query as it is", () => {
    assert.deepEqual(parseTarget("/a//b?x=%2f/../&y=a+b?c"), {
      path: "/a/b",
      query: "?x=%2f/../&y=a+b?c",
      authority: undefined,
    });
    assert.deepEqual(parseTarget("/?"), { path: "/", query: "?", authority: undefined });
  });

  it("reads an absolute form", () => {
    assert.deepEqual(parseTarget("http://Example.org:80/a?b"), {
      path: "/a",
      query: "?b",
      authority: "Example.org:80",
    });
    assert.deepEqual(parseTarget("HTTPS://x"), { path: "/", query: "", authority: "x" });
    assert.deepEqual(parseTarget("http://x?y"), { path: "/", query: "?y", authority: "x" });
  });

  for (const target of [
    "*",
    "",
    "a/b",
    "ftp://x/",
    "http:/x",
    "?a",
    "//x#y",
    "/a?b#c",
    "/a?b\u0001",
    "http://x\\y/z",
  ]) {
    it(`refuses ${JSON.stringify(target)}`, () => assert.ok("fault" in parseTarget(target)));
  }
});
