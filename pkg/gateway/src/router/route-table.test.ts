import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toConditions, type ValueRules } from "./conditions.ts";
import type { RouteEntry } from "./entry.ts";
import { parsePattern, type Pattern } from "./pattern.ts";
import { createRouteTable } from "./route-table.ts";

function pattern(text: string): Pattern {
  const parsed = parsePattern(text);
  assert.ok(typeof parsed === "object", `${text}: ${JSON.stringify(parsed)}`);
  return parsed;
}

/** `"GET,POST example.org /path"`, method and host optional; the route is named by the text. */
function entry(text: string): RouteEntry<string> {
  const [path = "", host, methods] = text.split(" ").toReversed();
  return {
    pattern: pattern(path),
    host: host === undefined || host === "*" ? undefined : host,
    methods: methods === undefined || methods === "*" ? undefined : methods.split(","),
    route: text,
  };
}

const table = (...texts: string[]) => createRouteTable(texts.map(entry)).table;

/** Name of the route that wins, `405 …` or 404. */
function winner(of: ReturnType<typeof table>, method: string, path: string, host = "x"): string {
  const found = of.find(host, method, path);
  if (found === undefined) return "404";
  return "route" in found ? found.route : `405 ${found.allow}`;
}

describe("parsePattern", () => {
  for (const [text, problem] of [
    ["notes", /begins with/],
    ["/a/*/b", /\*/],
    ["/a*", /\*/],
    ["/**/a", /\*/],
    ["/a//b", /empty segment/],
    ["//**", /empty segment/],
    ["/a/:1d", /:name/],
    ["/a/:", /:name/],
    ["/:id/:id", /twice/],
    ["/:id<int>/:id", /twice/],
    ["/:id<number>", /int.*uuid/],
    ["/:id<>", /int.*uuid/],
    ["/:id<int", /:name/],
    ["/a%2fb", /no request can match/],
    ["/%61", /write .*a.* for .*%61/],
    ["/a/../b", /canonical/],
    ["/caf\u00e9", /no request can match/],
  ] as const) {
    it(`refuses ${text}`, () => assert.match(JSON.stringify(parsePattern(text)), problem));
  }

  it("reads literals, free segments, prefixes and the root", () => {
    const read = (text: string) => {
      const { text: own, ...rest } = pattern(text);
      assert.equal(own, text);
      return rest;
    };
    const id = { index: 1, name: "id", type: "any" };
    assert.deepEqual(read("/notes/:id"), { segments: ["notes", undefined], free: [id], isPrefix: false });
    assert.deepEqual(read("/hello/**"), { segments: ["hello"], free: [], isPrefix: true });
    assert.deepEqual(read("/**"), { segments: [], free: [], isPrefix: true });
    assert.deepEqual(read("/"), { segments: [""], free: [], isPrefix: false });
    assert.deepEqual(read("/caf%C3%A9"), { segments: ["caf\u00e9"], free: [], isPrefix: false });
    assert.deepEqual(pattern("/:a<int>/x/:b<uuid>").free, [
      { index: 0, name: "a", type: "int" },
      { index: 2, name: "b", type: "uuid" },
    ]);
  });
});

describe("createRouteTable", () => {
  it("prefers a literal to a free segment to a prefix, from left to right", () => {
    const routes = table("/notes/special", "/notes/:id", "/notes/**", "/:any", "/**", "/notes/:id/tags");
    assert.equal(winner(routes, "GET", "/notes/special"), "/notes/special");
    assert.equal(winner(routes, "GET", "/notes/42"), "/notes/:id");
    assert.equal(winner(routes, "GET", "/notes/42/tags"), "/notes/:id/tags");
    assert.equal(winner(routes, "GET", "/notes/42/x"), "/notes/**");
    assert.equal(winner(routes, "GET", "/notes"), "/notes/**");
    assert.equal(winner(routes, "GET", "/notes/"), "/notes/**");
    assert.equal(winner(routes, "GET", "/other"), "/:any");
    assert.equal(winner(routes, "GET", "/"), "/**");
    assert.equal(winner(routes, "GET", "/notesx/1"), "/**");
  });

  it("matches a prefix by whole segments only, itself included", () => {
    const routes = table("/hello/**");
    for (const path of ["/hello", "/hello/", "/hello/ada", "/hello/a/b/c/"]) {
      assert.equal(winner(routes, "GET", path), "/hello/**");
    }
    for (const path of ["/hellox", "/hell", "/", "/x/hello"]) assert.equal(winner(routes, "GET", path), "404");
  });

  it("takes the longest prefix", () => {
    const routes = table("/a/**", "/a/b/**", "/a/b/c/**");
    assert.equal(winner(routes, "GET", "/a/x"), "/a/**");
    assert.equal(winner(routes, "GET", "/a/b/x/y"), "/a/b/**");
    assert.equal(winner(routes, "GET", "/a/b/c"), "/a/b/c/**");
  });

  it("tells a trailing slash apart, and a free segment is never empty", () => {
    const routes = table("/notes", "/notes/:id");
    assert.equal(winner(routes, "GET", "/notes"), "/notes");
    assert.equal(winner(routes, "GET", "/notes/"), "404");
    assert.equal(winner(routes, "GET", "/notes/1/"), "404");
  });

  it("matches segments decoded, so that no spelling slips past a more exact route", () => {
    const routes = table("/users/@me", "/users/:id", "/caf%C3%A9");
    assert.equal(winner(routes, "GET", "/users/%40me"), "/users/@me");
    assert.equal(winner(routes, "GET", "/users/%2540me"), "/users/:id");
    assert.equal(winner(routes, "GET", "/caf%C3%A9"), "/caf%C3%A9");
    assert.equal(winner(routes, "GET", "/Users/@me"), "404");
  });

  it("goes back to a less exact route when the more exact one does not take the method", () => {
    const routes = table("GET * /notes/special", "/notes/**");
    assert.equal(winner(routes, "POST", "/notes/special"), "/notes/**");
    assert.equal(winner(routes, "GET", "/notes/special"), "GET * /notes/special");
  });

  it("gives HEAD to GET unless HEAD has a route, and never TRACE or CONNECT to a route for any method", () => {
    const routes = table("GET * /a", "GET * /b", "HEAD * /b", "/c");
    assert.equal(winner(routes, "HEAD", "/a"), "GET * /a");
    assert.equal(winner(routes, "HEAD", "/b"), "HEAD * /b");
    assert.equal(winner(routes, "PROPFIND", "/c"), "/c");
    assert.equal(winner(routes, "TRACE", "/c"), "405 GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    assert.equal(winner(routes, "CONNECT", "/c"), "405 GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
  });

  it("names every method that the path does take", () => {
    const routes = table("GET * /notes", "POST * /notes", "DELETE,PUT * /notes/**");
    assert.equal(winner(routes, "PATCH", "/notes"), "405 GET, HEAD, POST, DELETE, PUT");
    assert.equal(winner(routes, "GET", "/nothing"), "404");
  });

  it("prefers a route for the host, and falls back to one for any host", () => {
    const routes = table("* api.example /a", "/a", "/b");
    assert.equal(winner(routes, "GET", "/a", "api.example"), "* api.example /a");
    assert.equal(winner(routes, "GET", "/a", "other.example"), "/a");
    assert.equal(winner(routes, "GET", "/b", "api.example"), "/b");
  });

  it("reports routes that no request can tell apart", () => {
    const pairs = [
      ["/a", "/a"],
      ["/a/:x", "/a/:y"],
      ["GET * /a", "GET,POST * /a"],
      ["/a/**", "/a/**"],
      ["* h /a", "* h /a"],
    ] as const;
    for (const [first, second] of pairs) {
      const { conflicts } = createRouteTable([entry(first), { ...entry(second), route: "second" }]);
      assert.deepEqual(
        conflicts.map((conflict) => [conflict.first, conflict.second.route]),
        [[first, "second"]],
        `${first} and ${second}`,
      );
    }
    assert.deepEqual(createRouteTable(["/a", "GET * /a", "* h /a", "/a/", "/a/**", "/:a"].map(entry)).conflicts, []);
  });

  it("prefers a typed segment to a free one, and a literal to both", () => {
    const routes = table("/n/7", "/n/:id<int>", "/n/:id<uuid>", "/n/:id", "/n/:id<int>/tags");
    assert.equal(winner(routes, "GET", "/n/7"), "/n/7");
    assert.equal(winner(routes, "GET", "/n/8"), "/n/:id<int>");
    assert.equal(winner(routes, "GET", "/n/%38"), "/n/:id<int>");
    assert.equal(winner(routes, "GET", "/n/8/tags"), "/n/:id<int>/tags");
    assert.equal(winner(routes, "GET", "/n/x/tags"), "404");
    assert.equal(winner(routes, "GET", "/n/0B52E3C1-6a4b-4d3a-8f0e-2d6c1a9b7e55"), "/n/:id<uuid>");
    for (const text of ["-8", "8.0", "1e3", "\u0667", "12345678901234567890", "0b52e3c1-6a4b-4d3a-8f0e-2d6c1a9b7e5"]) {
      assert.equal(winner(routes, "GET", `/n/${encodeURIComponent(text)}`), "/n/:id", text);
    }
  });

  it("prefers a host to the longest wildcard above it, and that to no host", () => {
    const routes = table("* a.b.example /x", "* *.b.example /x", "* *.example /x", "/x", "* *.example /y");
    for (const [host, route] of [
      ["a.b.example", "* a.b.example /x"],
      ["c.b.example", "* *.b.example /x"],
      ["d.c.b.example", "* *.b.example /x"],
      ["b.example", "* *.example /x"],
      ["example", "/x"],
      ["notexample", "/x"],
      [".example", "/x"],
      ["[::1]", "/x"],
    ] as const) {
      assert.equal(winner(routes, "GET", "/x", host), route, host);
    }
    assert.equal(winner(routes, "GET", "/y", "a.b.example"), "* *.example /y");
    assert.equal(winner(routes, "GET", "/y", "example"), "404");
  });

  it("lets a higher priority win over host, path and method", () => {
    const routes = createRouteTable([
      entry("GET h /a/b"),
      { ...entry("/**"), priority: 1 },
      { ...entry("POST * /a/:x"), priority: 2 },
      { ...entry("/z"), priority: -1 },
    ]).table;
    assert.equal(winner(routes, "GET", "/a/b", "h"), "/**");
    assert.equal(winner(routes, "POST", "/a/b", "h"), "POST * /a/:x");
    assert.equal(winner(routes, "GET", "/z"), "/**");
  });

  it("chooses by headers and parameters, the more that are asked for first", () => {
    const of = (name: string, headers: ValueRules, query: ValueRules = {}, methods?: string[]) => ({
      ...entry("/a"),
      methods,
      route: name,
      conditions: toConditions(headers, query),
    });
    const routes = createRouteTable([
      of("none", {}),
      of("one", { "x-a": "1" }),
      of("two", { "x-a": "1", "x-b": true }),
      of("query", { "x-a": "1" }, { v: { prefix: "2" } }),
      of("post", {}, {}, ["POST"]),
    ]).table;
    const find = (headers: string[], query = "", method = "GET") => {
      const found = routes.find("h", method, "/a", { headers, query });
      return found && "route" in found ? found.route : undefined;
    };
    assert.equal(find([]), "none");
    assert.equal(find(["x-a", "2"]), "none");
    assert.equal(find(["X-A", "1"]), "one");
    assert.equal(find(["x-a", "1", "X-a", "1"]), "none");
    assert.equal(find(["x-a", "1", "x-B", ""]), "two");
    assert.equal(find(["x-a", "1"], "?v=%32.1"), "query");
    assert.equal(find(["x-a", "1"], "?v=1&v=2"), "one");
    assert.equal(find(["x-a", "1", "x-b", ""], "?v=2", "POST"), "post");
  });

  it("answers 404 where only conditions fail, and 405 only with methods that would go", () => {
    const routes = createRouteTable([
      { ...entry("POST * /a"), conditions: toConditions({ "x-a": "1" }, {}) },
      { ...entry("PUT * /a"), route: "put" },
    ]).table;
    assert.equal(winner(routes, "GET", "/a"), "405 PUT");
    assert.equal(winner(routes, "POST", "/a"), "405 PUT");
    assert.deepEqual(routes.find("h", "GET", "/a", { headers: ["x-a", "1"], query: "" }), { allow: "POST, PUT" });
    const only = createRouteTable([{ ...entry("POST * /b"), conditions: toConditions({ "x-a": "1" }, {}) }]).table;
    assert.equal(winner(only, "POST", "/b"), "404");
  });

  it("reports routes that a request could fit equally well by their conditions", () => {
    const of = (headers: ValueRules, more: Partial<RouteEntry<string>> = {}) => ({
      ...entry("/a"),
      conditions: toConditions(headers, undefined),
      ...more,
    });
    const kinds = (...entries: RouteEntry<string>[]) => createRouteTable(entries).conflicts.map(({ kind }) => kind);
    assert.deepEqual(kinds(of({ a: "1" }), of({ a: "1" })), ["overlap"]);
    assert.deepEqual(kinds(of({ a: "1" }), of({ b: "1" })), ["overlap"]);
    assert.deepEqual(kinds(of({ a: { prefix: "x" } }), of({ a: { suffix: "y" } })), ["overlap"]);
    assert.deepEqual(kinds(of({ a: "1" }), of({ a: true })), ["overlap"]);
    assert.deepEqual(kinds(of({ a: { prefix: "x" } }), of({ a: "xy" })), ["overlap"]);
    assert.deepEqual(kinds(of({ a: "1" }), of({ a: "2" })), []);
    assert.deepEqual(kinds(of({ a: true }), of({ a: false })), []);
    assert.deepEqual(kinds(of({ a: "1" }), of({ a: false })), []);
    assert.deepEqual(kinds(of({ a: { prefix: "x" } }), of({ a: "y" })), []);
    assert.deepEqual(kinds(of({ a: { prefix: "x" } }), of({ a: { prefix: "y" } })), []);
    assert.deepEqual(kinds(of({ a: "1" }), of({ b: "1" }, { priority: 1 })), []);
    assert.deepEqual(kinds(of({ a: "1" }), of({ b: "1" }, { methods: ["GET"] })), []);
    const crowd = Array.from({ length: 300 }, (_, i) => of({ a: `${i}` }));
    assert.deepEqual(kinds(...crowd), ["crowded"]);
  });

  it("takes a slash at the end for nothing, or says where to go, as it is told", () => {
    const texts = ["/a", "/b/", "/c/:id", "/d/**", "/"];
    const ignoring = createRouteTable(texts.map(entry), { trailingSlash: "ignore" }).table;
    for (const [path, route] of [
      ["/a", "/a"],
      ["/a/", "/a"],
      ["/b", "/b/"],
      ["/b/", "/b/"],
      ["/c/1/", "/c/:id"],
      ["/c/", "404"],
      ["/d/", "/d/**"],
      ["/", "/"],
    ] as const) {
      assert.equal(winner(ignoring, "GET", path), route, path);
    }
    const redirecting = createRouteTable(texts.map(entry), { trailingSlash: "redirect" }).table;
    const target = (path: string) => {
      const found = redirecting.find("h", "GET", path);
      return found && "route" in found ? found.redirect : "none";
    };
    for (const path of ["/a", "/b/", "/c/1", "/d", "/d/", "/d/x/", "/"]) assert.equal(target(path), undefined, path);
    assert.equal(target("/a/"), "/a");
    assert.equal(target("/b"), "/b/");
    assert.equal(target("/c/1/"), "/c/1");
    assert.equal(createRouteTable([entry("/a"), entry("/a/")], { trailingSlash: "ignore" }).conflicts.length, 1);
  });

  it("finds one among ten thousand", () => {
    const many = createRouteTable(Array.from({ length: 10_000 }, (_, i) => entry(`/s${i}/:id/x`))).table;
    assert.equal(winner(many, "GET", "/s9999/7/x"), "/s9999/:id/x");
    assert.equal(winner(many, "GET", "/s10000/7/x"), "404");
  });
});
