import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { GatewayDocument } from "../config/schema.ts";
import { echo, exchangeRaw, httpInstance, openRoute, type Received, startGateway } from "../testing/kit.ts";

/** Sends requests to a gateway whose routes all lead to one instance that echoes. */
async function through(
  document: GatewayDocument,
  use: (ask: (request: string) => Promise<Answer>, log: () => Promise<Record<string, unknown>>) => Promise<void>,
): Promise<void> {
  await using instance = await httpInstance(echo);
  await using running = await startGateway({ document });
  await running.add(instance);
  let count = 0;
  const ask = async (request: string): Promise<Answer> => {
    count++;
    const [line = "", ...headers] = request.split("\n");
    const host = headers.some((header) => /^host:/i.test(header)) ? [] : ["Host: shop.example"];
    const lines = [`${line} HTTP/1.1`, ...host, ...headers, "Connection: close", "", ""];
    const reply = await exchangeRaw(running.gateway.port, lines.join("\r\n"));
    const [head = "", body = ""] = reply.split("\r\n\r\n");
    return {
      status: Number(head.split(" ")[1]),
      head,
      body,
      received: body.startsWith('{"method"') ? read(body) : undefined,
    };
  };
  await use(ask, async () => (await running.lines(count)).at(-1) ?? {});
}

interface Answer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
  readonly received: Received | undefined;
}

const read = (body: string): Received => JSON.parse(Buffer.from(body, "latin1").toString()) as Received;

describe("a request's route", () => {
  it("is found by host, wildcard, header, parameter and priority", async () => {
    const routes = [
      openRoute({ name: "any", rewrite: { prefix: "/any" } }),
      openRoute({ name: "below", match: { path: "/**", host: "*.shop.example" }, rewrite: { prefix: "/below" } }),
      openRoute({
        name: "canary",
        match: { path: "/**", headers: { "x-canary": "1" } },
        rewrite: { prefix: "/canary" },
      }),
      openRoute({ name: "search", match: { path: "/**", query: { q: true } }, rewrite: { prefix: "/search" } }),
      openRoute({ name: "first", match: { path: "/first/**" }, priority: 5, rewrite: { prefix: "/first" } }),
    ];
    await through({ routes }, async (ask, log) => {
      const url = async (request: string) => (await ask(request)).received?.url;
      assert.equal(await url("GET /a"), "/any/a");
      assert.equal(await url("GET /a\nHost: Eu.Shop.example:8080"), "/below/a");
      assert.equal(await url("GET /a\nX-Canary: 1"), "/canary/a");
      assert.equal(await url("GET /a\nX-Canary: 1\nConnection: x-canary"), "/any/a");
      assert.equal(await url("GET /a?q"), "/search/a?q");
      assert.equal(await url("GET /first/a?q\nHost: eu.shop.example\nX-Canary: 1"), "/first/a?q");
      assert.equal((await log()).route, "first");
    });
  });

  it("answers HEAD by GET, and another method with 405 and what is allowed", async () => {
    const routes = [
      openRoute({ match: { path: "/a", methods: ["GET"] } }),
      openRoute({ name: "b", match: { path: "/a", methods: ["POST"] } }),
    ];
    await through({ routes }, async (ask) => {
      assert.equal((await ask("HEAD /a")).status, 200);
      const refused = await ask("DELETE /a");
      assert.equal(refused.status, 405);
      assert.match(refused.head, /\r\nallow: GET, HEAD, POST\r\n/);
    });
  });

  it("is found with and without a slash at the end where that is ignored, and the service gets the path as it was", async () => {
    await through({ routes: [openRoute({ match: { path: "/a" } })], trailingSlash: "ignore" }, async (ask) => {
      assert.equal((await ask("GET /a/")).received?.url, "/a/");
      assert.equal((await ask("GET /a")).received?.url, "/a");
    });
    await through({ routes: [openRoute({ match: { path: "/a" } })] }, async (ask) => {
      assert.equal((await ask("GET /a/")).status, 404);
    });
  });

  it("is pointed at by a redirect that keeps the method, the query, and the host that the client is at", async () => {
    await through(
      { routes: [openRoute({ match: { path: ["/a", "/b/"] } })], trailingSlash: "redirect" },
      async (ask, log) => {
        const redirected = await ask("POST //a/?x=/&y=%0d%0a");
        assert.equal(redirected.status, 308);
        assert.match(redirected.head, /\r\nlocation: \/a\?x=\/&y=%0d%0a\r\n/);
        const line = await log();
        assert.deepEqual([line.status, line.route, line.reason], [308, "all", undefined]);
        assert.match((await ask("GET /b")).head, /\r\nlocation: \/b\/\r\n/);
        assert.equal((await ask("GET /b/")).status, 200);
      },
    );
  });
});

describe("a rewrite", () => {
  it("makes the path anew from the segments that the pattern names", async () => {
    const routes = [
      openRoute({ match: { path: "/users/:id/notes/:note<int>" }, rewrite: { path: "/v2/notes/:note/of/:id" } }),
      openRoute({ name: "rest", match: { path: "/files/:area/**" }, rewrite: { path: "/store/:area/all/**" } }),
      openRoute({ name: "fixed", match: { path: "/status" }, rewrite: { path: "/" } }),
    ];
    await through({ routes }, async (ask) => {
      assert.equal((await ask("GET /users/a%20b%3b/notes/7?x=1")).received?.url, "/v2/notes/7/of/a%20b%3B?x=1");
      assert.equal((await ask("GET /files/eu/a/b/")).received?.url, "/store/eu/all/a/b/");
      assert.equal((await ask("GET /files/eu")).received?.url, "/store/eu/all");
      assert.equal((await ask("GET /status")).received?.url, "/");
      assert.equal((await ask("GET /users/a/notes/x")).status, 404);
    });
  });

  it("is refused where a later stage could read its result in another way", async () => {
    const routes = [openRoute({ match: { path: "/api/**" }, rewrite: { path: "/**" } })];
    await through({ routes }, async (ask) => {
      assert.equal((await ask("GET /api/%2e%2e/admin")).status, 404, "it is /admin, which has no route");
      assert.equal((await ask("GET /api/x")).received?.url, "/x");
      assert.equal((await ask("GET /api/")).received?.url, "/");
      assert.equal((await ask("GET /api")).received?.url, "/");
    });
  });

  it("gives the service another Host, and always tells the one that the client asked for", async () => {
    await through({ routes: [openRoute({ rewrite: { host: "notes.internal:8080" } })] }, async (ask) => {
      const { received } = await ask("GET /a");
      assert.deepEqual(received?.headers.host, ["notes.internal:8080"]);
      assert.deepEqual(received?.headers["x-forwarded-host"], ["shop.example"]);
      assert.equal(received?.url, "/a");
    });
  });
});
