import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Middleware } from "../middleware.ts";
import { parseReply, startHttp, type TestHttpOptions } from "../testing/http.ts";

const routes: TestHttpOptions["routes"] = (app) => {
  app.get("/", async () => ({ ok: true }));
  app.get("/broken", async () => {
    throw new Error("broken");
  });
  app.get("/bad-header", async (_request, reply) => reply.header("x-bad", "a\nb").send("x"));
  app.get("/page", async (_request, reply) =>
    reply.header("content-security-policy", "default-src 'self'").type("text/html").send("<p>"),
  );
};

const expected = {
  "x-content-type-options": "nosniff",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
};

function securityOf({ headers }: Response): Record<string, string | null> {
  return Object.fromEntries(Object.keys(expected).map((name) => [name, headers.get(name)]));
}

describe("the security-headers layer", () => {
  it("is on every reply: of a route, of a failure, of no route, and of what is written past fastify", async () => {
    await using http = await startHttp({ routes });
    for (const [path, status] of [
      ["/", 200],
      ["/broken", 500],
      ["/nowhere", 404],
      ["/bad-header", 500],
    ] as const) {
      const reply = await http.fetch(path);
      assert.equal(reply.status, status, path);
      assert.deepEqual(securityOf(reply), expected, path);
    }
  });

  for (const [what, bytes, status] of [
    ["what is no HTTP", "rubbish\r\n\r\n", 400],
    ["a head that no route may see", "GET /a%zz HTTP/1.1\r\nhost: a\r\n\r\n", 400],
    ["a path that the router cannot read", "GET /%ff HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 400],
    ["too large a head", `GET / HTTP/1.1\r\nhost: a\r\nx: ${"x".repeat(20_000)}\r\n\r\n`, 431],
    ["CONNECT", "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", 405],
    ["an expectation", "GET / HTTP/1.1\r\nhost: a\r\nexpect: a lot\r\n\r\n", 417],
  ] as const) {
    it(`is on the refusal of ${what}, unless it is turned off`, async () => {
      for (const securityHeaders of [true, false]) {
        await using http = await startHttp({ routes, settings: { securityHeaders } });
        const reply = parseReply(await http.raw(bytes));
        assert.equal(reply.status, status);
        for (const [name, value] of Object.entries(expected))
          assert.equal(reply.headers[name], securityHeaders ? value : undefined, name);
      }
    });
  }

  it("is on what an overloaded server refuses", async () => {
    await using http = await startHttp({ routes, loopDelay: { nowMs: () => 5_000, close: () => {} } });
    const reply = await http.fetch("/");
    assert.deepEqual([reply.status, securityOf(reply)], [503, expected]);
  });

  it("keeps what a middleware outside of it has set, but for its own", async () => {
    const early: Middleware = {
      name: "early",
      before: "security-headers",
      handle: async (request, next) => {
        request.setReplyHeader("x-early", "yes");
        request.setReplyHeader("referrer-policy", "origin");
        await next();
      },
    };
    await using http = await startHttp({ routes, middlewares: [early] });
    const reply = await http.fetch("/");
    assert.deepEqual([reply.headers.get("x-early"), securityOf(reply)], ["yes", expected]);
  });

  it("leaves a route its own value", async () => {
    await using http = await startHttp({ routes });
    const reply = await http.fetch("/page");
    assert.equal(reply.headers.get("content-security-policy"), "default-src 'self'");
    assert.equal(reply.headers.get("x-content-type-options"), "nosniff");
  });

  it("can be turned off", async () => {
    await using http = await startHttp({ routes, settings: { securityHeaders: false } });
    const reply = await http.fetch("/");
    for (const value of Object.values(securityOf(reply))) assert.equal(value, null);
  });

  it("says nothing of TLS without TLS, whatever a caller claims", async () => {
    await using http = await startHttp({ routes });
    const reply = await http.fetch("/", { headers: { "x-forwarded-proto": "https" } });
    assert.equal(reply.headers.get("strict-transport-security"), null);
  });

  const behindProxy = { trustedProxies: ["loopback"] };
  const ask = (proto: string, host: string) =>
    `GET / HTTP/1.1\r\nhost: ${host}\r\nx-forwarded-proto: ${proto}\r\nconnection: close\r\n\r\n`;

  it("has browsers stay with TLS where a trusted proxy says that they came by it, and never for localhost", async () => {
    await using http = await startHttp({ routes, settings: behindProxy });
    assert.match(
      await http.raw(ask("https", "api.example.com")),
      /\r\nstrict-transport-security: max-age=15552000\r\n/,
    );
    for (const [proto, host] of [
      ["http", "api.example.com"],
      ["https", "localhost"],
      ["https", "a.localhost:8443"],
    ] as const)
      assert.doesNotMatch(await http.raw(ask(proto, host)), /strict-transport-security/, `${proto} ${host}`);
    await using silent = await startHttp({ routes, settings: { ...behindProxy, hstsMaxAgeSeconds: 0 } });
    assert.doesNotMatch(await silent.raw(ask("https", "api.example.com")), /strict-transport-security/);
  });
});
