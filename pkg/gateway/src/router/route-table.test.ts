import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parsePattern, type Pattern } from "./pattern.ts";
import { createRouteTable, type RouteEntry } from "./route-table.ts";

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
    ["/a%2fb", /no request can match/],
    ["/%61", /write .*a.* for .*%61/],
    ["/a/../b", /canonical/],
    ["/caf\u00e9", /no request can match/],
  ] as const) {
    it(`refuses ${text}`, () => assert.match(JSON.stringify(parsePattern(text)), problem));
  }

  it("reads literals, free segments, prefixes and the root", () => {
    assert.deepEqual(parsePattern("/notes/:id"), {
      text: "/notes/:id",
      segments: ["notes", undefined],
      isPrefix: false,
    });
    assert.deepEqual(parsePattern("/hello/**"), { text: "/hello/**", segments: ["hello"], isPrefix: true });
    assert.deepEqual(parsePattern("/**"), { text: "/**", segments: [], isPrefix: true });
    assert.deepEqual(parsePattern("/"), { text: "/", segments: [""], isPrefix: false });
    assert.deepEqual(parsePattern("/caf%C3%A9"), { text: "/caf%C3%A9", segments: ["caf\u00e9"], isPrefix: false });
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
    const routes = table("GET * /a", "HEAD * /b", "GET * /b", "/c");
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

  it("takes the same time whatever the number of routes", () => {
    const many = createRouteTable(Array.from({ length: 10_000 }, (_, i) => entry(`/s${i}/:id/x`))).table;
    assert.equal(winner(many, "GET", "/s9999/7/x"), "/s9999/:id/x");
    assert.equal(winner(many, "GET", "/s10000/7/x"), "404");
  });
});
