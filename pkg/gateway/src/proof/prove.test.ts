import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type GatewayDocument, gatewayDocument } from "../config/schema.ts";
import { proveDocument } from "./prove-document.ts";
import type { ProofOptions } from "./prove.ts";
import { readPath, targetOf } from "./stages.ts";

type RouteInput = GatewayDocument["routes"][number];

const jwt = { main: { issuer: "i", audiences: ["a"], jwks: "https://issuer.example/jwks" } };

function route(name: string, path: string | string[], more: Partial<RouteInput> = {}): RouteInput {
  return { name, match: { path }, service: "s", ...(more.auth ? {} : { anonymous: true }), ...more };
}

const guarded = { auth: {} };

/** `severity route: input` of each finding, with the problem. */
function findingsIn(
  routes: RouteInput[],
  options?: ProofOptions,
): { readonly what: string; readonly problem: string }[] {
  const { findings } = proveDocument(gatewayDocument.parse({ jwt, routes }), options);
  return findings.map(({ severity, route: { name }, input, problem }) => ({
    what: `${severity} ${name}: ${input}`,
    problem,
  }));
}

const faultsIn = (routes: RouteInput[], options?: ProofOptions) =>
  findingsIn(routes, options).filter(({ what }) => what.startsWith("fault"));

describe("the proof of a document", () => {
  it("holds for routes that guard a part of what another leaves open, in every spelling", () => {
    const routes = [
      route("open", "/**"),
      route("public", "/public/**", { rewrite: { prefix: "/pub" } }),
      route("admin", "/admin/**", guarded),
      route("user", ["/users/:id", "/users/:id<int>/notes/"], {
        ...guarded,
        match: { path: "/users/:id", methods: ["GET"] },
      }),
      route("me", "/users/@me", guarded),
      route("canary", "/canary/**", { ...guarded, match: { path: "/canary/**", headers: { "x-canary": "1" } } }),
      route("moved", "/old/:id", {
        ...guarded,
        match: { path: "/old/:id", methods: ["GET"] },
        rewrite: { path: "/users/:id" },
      }),
    ];
    const { findings, inputs, routes: count } = proveDocument(gatewayDocument.parse({ jwt, routes }));
    assert.deepEqual(
      findings.filter(({ severity }) => severity === "fault"),
      [],
    );
    assert.ok(inputs > 700, `${inputs} inputs`);
    assert.equal(count, routes.length);
  });

  it("warns of a service that reads paths more loosely than the gateway", () => {
    const [{ what, problem } = { what: "", problem: "" }, ...more] = findingsIn([
      route("open", "/**"),
      route("admin", "/admin", guarded),
    ]);
    assert.deepEqual([what, more], ["warning admin: /ADMIN", []]);
    for (const input of ["/ADMIN", "/admin/", "/admin;"])
      assert.ok(problem.includes(` ${input} `), `${input} in ${problem}`);
    assert.match(
      problem,
      /by route open, which is for everybody, service s gets .* and \d+ more, and must not take them for \/admin$/,
    );
    const apart = [route("open", "/**", { service: "web" }), route("admin", "/admin", guarded)];
    assert.deepEqual(findingsIn(apart), [], "another service has nothing of it");
  });

  it("finds the guarded path that a host of its own leaves open, and lets hosts that are both named be", () => {
    const www = route("www", "/**", { match: { path: "/**", host: "www.example" } });
    const [found] = faultsIn([www, route("admin", "/admin/**", guarded)]);
    assert.deepEqual(found, {
      what: "fault admin: /admin",
      problem: "GET /admin at host www.example goes by route www, which is for everybody, to /admin of service s",
    });
    const below = route("www", "/**", { match: { path: "/**", host: "*.example" } });
    assert.match(faultsIn([below, route("admin", "/admin/**", guarded)])[0]?.problem ?? "", /at host sample\.example/);
    const named = route("admin", "/admin/**", { ...guarded, match: { path: "/admin/**", host: "admin.example" } });
    assert.deepEqual(faultsIn([www, named]), []);
    const sameAfter = { ...www, rewrite: { host: "admin.example" } };
    assert.equal(faultsIn([sameAfter, named]).length, 1, "the service gets the same host from both");
  });

  it("finds the rewrites that lead from a route for everybody to a guarded path", () => {
    const admin = route("admin", "/admin/**", guarded);
    const stripped = route("public", "/public/**", { rewrite: { prefix: "/" } });
    assert.deepEqual(faultsIn([stripped, admin]), [
      {
        what: "fault admin: /public/admin",
        problem: "GET /public/admin goes by route public, which is for everybody, to /admin of service s",
      },
    ]);
    assert.deepEqual(
      faultsIn([stripped, admin, route("deep", "/public/admin/**", { ...guarded, rewrite: { prefix: "/admin" } })]),
      [],
    );
    const template = route("any", "/x/:page", { rewrite: { path: "/admin/:page" } });
    assert.equal(faultsIn([template, admin])[0]?.what, "fault admin: /x/sample");
    const rest = route("rest", "/y/:a/**", { rewrite: { path: "/:a/**" } });
    assert.equal(faultsIn([rest, admin])[0]?.what, "fault admin: /y/admin");
    const inside = route("api", "/api/admin/**", { ...guarded, rewrite: { prefix: "/admin" } });
    assert.equal(faultsIn([route("open", "/**"), inside])[0]?.what, "fault api: /admin");
  });

  it("lets a more exact route be for everybody: that is what its author says", () => {
    assert.deepEqual(
      faultsIn([route("all", "/**", guarded), route("health", "/health"), route("docs", "/docs/**")]),
      [],
    );
  });

  it("finds methods that are left open, routes that no request gets to, and headers by which a token is not needed", () => {
    const posting = route("post", "/notes", { match: { path: "/notes", methods: ["POST"] } });
    assert.deepEqual(
      faultsIn([posting, route("notes", "/notes", { ...guarded, match: { path: "/notes", methods: ["GET"] } })]),
      [],
    );
    const first = route("first", "/**", { priority: 1 });
    assert.match(
      faultsIn([first, route("admin", "/admin/**", guarded)])[0]?.problem ?? "",
      /^no request gets to it: \/admin goes by route first, which is for everybody$/,
    );
    const debug = route("debug", "/admin/**", { match: { path: "/admin/**", headers: { "x-debug": "1" } } });
    const [warning] = findingsIn([debug, route("admin", "/admin/**", guarded)]);
    assert.equal(warning?.what, "warning admin: /admin");
    assert.match(warning?.problem ?? "", /with headers or parameters that anybody can send, goes by route debug/);
  });

  it("finds each stage that sees another path than the one before", () => {
    const routes = [
      route("open", "/**"),
      route("admin", "/admin/**", guarded),
      route("cut", "/cut/**", { rewrite: { prefix: "/to" } }),
    ];
    const broken: Record<string, ProofOptions["stages"]> = {
      "decodes again": {
        forward: (found, path) => {
          const target = targetOf(found, path);
          return target === undefined ? undefined : safely(target);
        },
      },
      "leaves dots": { read: (target) => (target.includes("..") ? target : readPath(target)) },
      "forwards what came": { forward: (found, path) => targetOf(found, path)?.replace(/\/$/, "") },
      "resolves after the rewrite": {
        forward: (found, path) => targetOf(found, path)?.replace("/to/sample", "/to/../sample"),
      },
      "cuts text and no segments": {
        forward: (_found, path) => (path.startsWith("/cut") ? `/to${path.slice(4).replace("~", "/..")}` : path),
      },
    };
    for (const [how, stages] of Object.entries(broken)) assert.notDeepEqual(faultsIn(routes, { stages }), [], how);
  });

  it("stops at the number of inputs that it may take, and says how far it came", () => {
    const routes = Array.from({ length: 50 }, (_, index) => route(`r${index}`, `/r${index}`, guarded));
    const { inputs, routes: count } = proveDocument(gatewayDocument.parse({ jwt, routes }), { maxInputs: 300 });
    assert.ok(inputs >= 300 && inputs < 500 && count < 10, `${inputs} inputs of ${count} routes`);
  });
});

function safely(target: string): string {
  try {
    return decodeURIComponent(target);
  } catch {
    return target;
  }
}
