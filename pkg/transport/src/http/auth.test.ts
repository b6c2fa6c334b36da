import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError } from "@plinth/kernel";
import type { FastifyReply } from "fastify";
import type { Authenticator, Identity } from "../auth.ts";
import { gatewayIdentity } from "../gateway-identity.ts";
import { parseReply, startHttp, type TestHttpOptions } from "../testing/http.ts";

const alice: Identity = { subject: "alice", scopes: ["notes:read"], claims: {} };

/** Knows one token, at once or after a turn of the event loop. */
const fake: Authenticator = {
  authenticate(request) {
    switch (request.header("authorization")) {
      case undefined:
        return undefined;
      case "Bearer good":
        return alice;
      case "Bearer later":
        return Promise.resolve(alice);
      case "Bearer down":
        throw AppError.unavailable("ERR_AUTH_UNAVAILABLE", "who calls cannot be told now");
      case "Bearer broken":
        throw new TypeError("the secret of the authenticator");
      case "Bearer never":
        return new Promise(() => {});
      default:
        return Promise.reject(AppError.unauthenticated("ERR_UNAUTHENTICATED", "the token is not valid"));
    }
  },
};

let handled = 0;
const options: TestHttpOptions = {
  authenticator: fake,
  routes: (app) => {
    app.get("/mine", async ({ identity }) => {
      handled++;
      return { subject: identity?.subject ?? null };
    });
    app.get("/free", { config: { auth: "none" } }, async ({ identity }) => ({ subject: identity?.subject ?? null }));
    app.get("/maybe", { config: { auth: "optional" } }, async ({ identity }) => ({
      subject: identity?.subject ?? null,
    }));
    app.get("/read", { config: { scopes: ["notes:read"] } }, async () => "read");
    app.get("/write", { config: { scopes: ["notes:read", "notes:write"] } }, async () => "written");
    app.post("/mine", async ({ body }) => ({ body }));
  },
};

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

describe("the auth layer of an HTTP server", () => {
  it("lets in who says who they are, and tells the handler", async () => {
    await using http = await startHttp(options);
    for (const token of ["good", "later"]) {
      const reply = await http.fetch("/mine", bearer(token));
      assert.deepEqual([reply.status, await reply.json()], [200, { subject: "alice" }], token);
    }
  });

  it("refuses who says nothing with 401 and a challenge, before the handler", async () => {
    await using http = await startHttp(options);
    handled = 0;
    const reply = await http.fetch("/mine");
    assert.equal(reply.status, 401);
    assert.equal(reply.headers.get("www-authenticate"), 'Bearer realm="plinth"');
    assert.partialDeepStrictEqual(await reply.json(), { code: "ERR_UNAUTHENTICATED" });
    assert.equal(handled, 0);
    assert.deepEqual(await http.reports(), []);
  });

  it("refuses what is false with 401 on routes where it is optional too", async () => {
    await using http = await startHttp(options);
    for (const path of ["/mine", "/maybe"]) {
      const reply = await http.fetch(path, bearer("bad"));
      assert.equal(reply.status, 401, path);
      assert.equal(reply.headers.get("content-type"), "application/problem+json");
    }
  });

  it("lets anybody in where it is optional or none, and asks nobody where it is none", async () => {
    await using http = await startHttp(options);
    const told = async (path: string, init?: RequestInit) => (await http.fetch(path, init)).json();
    assert.deepEqual(await told("/maybe"), { subject: null });
    assert.deepEqual(await told("/maybe", bearer("good")), { subject: "alice" });
    assert.deepEqual(await told("/free"), { subject: null });
    assert.deepEqual(await told("/free", bearer("bad")), { subject: null });
  });

  it("wants all scopes of the route, and says in the challenge which", async () => {
    await using http = await startHttp(options);
    assert.equal((await http.fetch("/read", bearer("good"))).status, 200);
    const reply = await http.fetch("/write", bearer("good"));
    assert.equal(reply.status, 403);
    assert.equal(
      reply.headers.get("www-authenticate"),
      'Bearer realm="plinth", error="insufficient_scope", scope="notes:read notes:write"',
    );
    assert.partialDeepStrictEqual(await reply.json(), { code: "ERR_SCOPE_MISSING" });
    assert.equal((await http.fetch("/read")).status, 401);
  });

  it("answers 503 while it cannot be told, and a fault of the authenticator with 500 and none of its text", async () => {
    await using http = await startHttp(options);
    const down = await http.fetch("/mine", bearer("down"));
    assert.equal(down.status, 503);
    const broken = await http.fetch("/mine", bearer("broken"));
    assert.equal(broken.status, 500);
    assert.doesNotMatch(await broken.text(), /secret/);
    assert.ok((await http.reports()).some(({ error }) => error.message.includes("the secret of the authenticator")));
  });

  it("is bounded by the deadline", async () => {
    await using http = await startHttp({ ...options, settings: { deadlineMs: 50 } });
    assert.equal((await http.fetch("/mine", bearer("never"))).status, 504);
  });

  it("looks at no body before it knows who sends it", async () => {
    await using http = await startHttp(options);
    const reply = await http.fetch("/mine", {
      method: "POST",
      body: "{",
      headers: { "content-type": "application/json" },
    });
    assert.equal(reply.status, 401);
  });

  it("refuses two authorization headers, of which node keeps the first", async () => {
    await using http = await startHttp(options);
    const reply = await http.raw(
      "GET /mine HTTP/1.1\r\nhost: a\r\nAuthorization: Bearer good\r\nauthorization: Bearer bad\r\nconnection: close\r\n\r\n",
    );
    assert.equal(parseReply(reply).status, 400);
  });

  it("guards HEAD as it does GET, and asks nobody on the way to a route that is not there", async () => {
    await using http = await startHttp(options);
    assert.equal((await http.fetch("/mine", { method: "HEAD" })).status, 401);
    assert.equal((await http.fetch("/nowhere")).status, 404);
  });

  it("guards what a handler of the user's own serves in the place of a route, unless it says otherwise", async () => {
    await using http = await startHttp({
      authenticator: fake,
      routes: (app) => {
        const page = (_request: unknown, reply: FastifyReply): void => void reply.send("page");
        void app.register(async (scope) => scope.setNotFoundHandler(page), { prefix: "/mine" });
        const open = { config: { auth: "none" } };
        const addOpen = async (scope: object): Promise<void> =>
          Reflect.apply(Reflect.get(scope, "setNotFoundHandler"), scope, [open, page]);
        void app.register(addOpen, { prefix: "/open" });
      },
    });
    assert.equal((await http.fetch("/mine/page")).status, 401);
    assert.equal((await http.fetch("/elsewhere")).status, 404);
    const known = await http.fetch("/mine/page", { headers: { authorization: "Bearer good" } });
    assert.equal(await known.text(), "page");
    assert.equal(await (await http.fetch("/open/page")).text(), "page");
  });

  it("asks where the setting says so alone, and nobody without an authenticator", async () => {
    await using open = await startHttp({ ...options, settings: { auth: "none" } });
    assert.equal((await open.fetch("/mine")).status, 200);
    assert.equal((await open.fetch("/read")).status, 401);
    const routes: TestHttpOptions["routes"] = (app) => void app.get("/mine", async () => "all");
    await using none = await startHttp({ routes });
    assert.equal((await none.fetch("/mine")).status, 200);
  });

  const faults = [
    [{ auth: "required" }, /nothing tells; add a module that provides an authenticator/, undefined],
    [{ scopes: ["a"] }, /nothing tells/, undefined],
    [{ auth: "none", scopes: ["a"] }, /its auth is none/, fake],
    [{ auth: "reqiured" }, /has auth "reqiured"; expected required, optional, none/, fake],
    [{ scopes: ["a b"] }, /no list of words/, fake],
    [{ scopes: "a" }, /no list of words/, fake],
    [{ scope: ["a"] }, /has `scope`, which nobody looks at; it is `scopes`/, fake],
  ] as const;
  for (const [config, message, authenticator] of faults) {
    it(`does not start with a route of ${JSON.stringify(config)}${authenticator ? "" : " and no authenticator"}`, async () => {
      const routes: TestHttpOptions["routes"] = (app) => {
        Reflect.apply(app.get, app, ["/x", { config }, async () => "x"]);
      };
      await assert.rejects(startHttp({ routes, ...(authenticator ? { authenticator } : {}) }), {
        code: "ERR_AUTH_NEED",
        message,
      });
    });
  }
});

describe("gatewayIdentity", () => {
  const said = { "plinth-subject": "al%20ice%2C", "plinth-scopes": "notes:read a%2Cb", "plinth-issuer": "https://i" };
  const routes: TestHttpOptions["routes"] = (app) => void app.get("/", async ({ identity }) => identity ?? null);
  const trusting = (...trustedPeers: string[]) =>
    startHttp({ routes, authenticator: gatewayIdentity({ trustedPeers }), settings: { auth: "optional" } });

  it("takes the gateway's word, unescaped", async () => {
    await using http = await trusting("loopback");
    const identity = await (await http.fetch("/", { headers: said })).json();
    assert.deepEqual(identity, { subject: "al ice,", scopes: ["notes:read", "a,b"], claims: { iss: "https://i" } });
    assert.equal(await (await http.fetch("/")).json(), null);
  });

  it("refuses the same from anybody else, also through a proxy that says it is the gateway", async () => {
    await using http = await trusting("10.0.0.1");
    assert.equal((await http.fetch("/", { headers: said })).status, 401);
    assert.equal((await http.fetch("/", { headers: { ...said, "x-forwarded-for": "10.0.0.1" } })).status, 401);
  });

  for (const subject of ["%", "%zz", "%ff", "alice, bob", ""]) {
    it(`refuses the subject ${JSON.stringify(subject)}`, async () => {
      await using http = await trusting("loopback");
      const reply = await http.raw(
        `GET / HTTP/1.1\r\nhost: a\r\nplinth-subject: ${subject}\r\nconnection: close\r\n\r\n`,
      );
      assert.equal(parseReply(reply).status, 401);
    });
  }

  it("refuses a network that is none", () => {
    assert.throws(() => gatewayIdentity({ trustedPeers: ["everywhere"] }), RangeError);
  });
});
