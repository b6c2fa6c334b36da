import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseGatewayDocument } from "../config/document.ts";
import type { GatewayDocument } from "../config/schema.ts";
import { exchangeRaw, httpInstance, openRoute, startGateway } from "../testing/kit.ts";

interface Reply {
  readonly status: number;
  /** Lower-case name → values in their order. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  readonly body: string;
}

type Ask = (line: string, ...headers: string[]) => Promise<Reply>;

/** A gateway before an instance that has opinions of its own about other origins. */
async function through(
  document: GatewayDocument,
  use: (ask: Ask, seen: string[]) => Promise<void>,
  settings = {},
): Promise<void> {
  const seen: string[] = [];
  await using instance = await httpInstance((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    response.writeHead(200, {
      "access-control-allow-origin": "*",
      "access-control-allow-credentials": "true",
      "x-frame-options": "SAMEORIGIN",
      vary: "accept",
      "content-length": "0",
    });
    response.end();
  });
  await using running = await startGateway({ document, settings });
  await running.add(instance);
  const ask: Ask = async (line, ...lines) => {
    const request = [`${line} HTTP/1.1`, "Host: a", ...lines, "Connection: close", "", ""].join("\r\n");
    const [head = "", body = ""] = (await exchangeRaw(running.gateway.port, request)).split("\r\n\r\n");
    const [first = "", ...fields] = head.split("\r\n");
    const headers = new Map<string, string[]>();
    for (const field of fields) {
      const colon = field.indexOf(":");
      const name = field.slice(0, colon).toLowerCase();
      headers.set(name, [...(headers.get(name) ?? []), field.slice(colon + 1).trim()]);
    }
    return { status: Number(first.split(" ")[1]), headers, body };
  };
  await use(ask, seen);
}

const { anonymous: _open, ...closed } = openRoute();
const jwt = { test: { issuer: "i", audiences: ["a"], jwks: "http://127.0.0.1:9/jwks" } };
const preflight = (origin: string, method: string, headers?: string): string[] => [
  `Origin: ${origin}`,
  `Access-Control-Request-Method: ${method}`,
  ...(headers === undefined ? [] : [`Access-Control-Request-Headers: ${headers}`]),
];

describe("a route that pages of other origins may call", () => {
  const document: GatewayDocument = {
    jwt,
    routes: [
      {
        ...closed,
        auth: {},
        match: { path: "/notes/**", methods: ["GET", "PUT"] },
        cors: {
          origins: ["https://shop.example", "https://*.shop.example:8443"],
          credentials: true,
          headers: ["content-type", "x-tag"],
          exposeHeaders: ["etag"],
        },
      },
      openRoute({ name: "open", match: { path: "/open" }, cors: { origins: ["*"] } }),
      openRoute({ name: "own", match: { path: "/own" } }),
    ],
  };

  it("has their questions answered without a token and without the service", async () => {
    await through(document, async (ask, seen) => {
      const reply = await ask("OPTIONS /notes/1", ...preflight("https://shop.example", "PUT", "X-Tag,content-type"));
      assert.equal(reply.status, 204);
      assert.equal(reply.body, "");
      const cors = [...reply.headers].filter(([name]) => name.startsWith("access-control-") || name === "vary");
      assert.deepEqual(Object.fromEntries(cors), {
        vary: ["origin"],
        "access-control-allow-origin": ["https://shop.example"],
        "access-control-allow-credentials": ["true"],
        "access-control-allow-methods": ["GET, PUT, HEAD"],
        "access-control-allow-headers": ["content-type, x-tag"],
        "access-control-max-age": ["600"],
      });
      assert.equal(reply.headers.has("content-length"), false);
      assert.equal((await ask("OPTIONS /notes/1", ...preflight("https://a.b.shop.example:8443", "GET"))).status, 204);
      assert.deepEqual(seen, []);
    });
  });

  it("refuses a question whose origin, method or header is not allowed, and says nothing that would allow it", async () => {
    await through(document, async (ask, seen) => {
      for (const [origin, method, headers] of [
        ["https://evil.example", "GET"],
        ["http://shop.example", "GET"],
        ["https://shop.example.evil.example", "GET"],
        ["https://shop.example:444", "GET"],
        ["https://evil-shop.example:8443", "GET"],
        ["https://.shop.example:8443", "GET"],
        ["https://evil.example/.shop.example:8443", "GET"],
        ["https://*.shop.example:8443", "GET"],
        ["null", "GET"],
        ["https://shop.example", "PUT", "x-other"],
      ] as const) {
        const reply = await ask("OPTIONS /notes/1", ...preflight(origin, method, headers));
        assert.equal(reply.status, 403, origin);
        assert.match(reply.body, /"cors_refused"/);
        assert.equal(reply.headers.has("access-control-allow-origin"), false);
      }
      assert.equal((await ask("OPTIONS /notes/1", ...preflight("https://shop.example", "DELETE"))).status, 405);
      assert.deepEqual(seen, []);
    });
  });

  it("lets them read replies, those of the gateway itself as well, and takes out what the service says about it", async () => {
    await through(document, async (ask) => {
      const refused = await ask("GET /notes/1", "Origin: https://shop.example");
      assert.equal(refused.status, 401);
      assert.deepEqual(refused.headers.get("access-control-allow-origin"), ["https://shop.example"]);
      assert.deepEqual(refused.headers.get("access-control-expose-headers"), ["etag"]);
      const open = await ask("GET /open", "Origin: https://any.example");
      assert.deepEqual(open.headers.get("access-control-allow-origin"), ["*"]);
      assert.equal(open.headers.has("access-control-allow-credentials"), false);
      assert.deepEqual(open.headers.get("vary"), ["accept"]);
      const own = await ask("GET /own", "Origin: https://any.example");
      assert.deepEqual(
        own.headers.get("access-control-allow-credentials"),
        ["true"],
        "another route's are not touched",
      );
    });
  });

  it("answers what is no question as ever, and tells caches apart", async () => {
    await through(document, async (ask, seen) => {
      const foreign = await ask("GET /notes/1", "Origin: https://evil.example");
      assert.equal(foreign.headers.has("access-control-allow-origin"), false);
      assert.deepEqual(foreign.headers.get("vary"), ["origin"]);
      assert.equal((await ask("OPTIONS /open", "Origin: https://any.example")).status, 200);
      assert.equal((await ask("OPTIONS /own", ...preflight("https://any.example", "GET"))).status, 200);
      assert.deepEqual(seen, ["OPTIONS /open", "OPTIONS /own"]);
    });
  });

  it("may not take cookies from everywhere, nor have origins that are none", () => {
    const of = (cors: object) => () =>
      parseGatewayDocument({ routes: [openRoute(JSON.parse(JSON.stringify({ cors })))] });
    assert.throws(of({ origins: ["*"], credentials: true }), { message: /cors\.credentials.*name the origins/ });
    for (const origin of [
      "shop.example",
      "https://shop.example/",
      "https://Shop.example",
      "https://*",
      "null",
      "https://a.*.b",
    ]) {
      assert.throws(of({ origins: [origin] }), { message: /expected `\*`, or an origin/ }, origin);
    }
  });
});

describe("lists of addresses", () => {
  it("are asked for the whole document before any route, and for a route beside that", async () => {
    await through({ addresses: { deny: ["127.0.0.0/8"] }, routes: [openRoute()] }, async (ask, seen) => {
      for (const path of ["/", "/%2f"]) assert.notEqual((await ask(`GET ${path}`)).status, 200);
      const reply = await ask("GET /none");
      assert.equal(reply.status, 403);
      assert.match(reply.body, /"address_refused"/);
      assert.deepEqual(seen, []);
    });
    const routes = [
      openRoute({
        name: "office",
        match: { path: "/office" },
        addresses: { allow: ["203.0.113.0/24", "2001:db8::/32"] },
      }),
      openRoute({ name: "here", match: { path: "/here" }, addresses: { allow: ["loopback"] } }),
      openRoute({ name: "both", match: { path: "/both" }, addresses: { allow: ["loopback"], deny: ["127.0.0.1"] } }),
    ];
    await through({ routes }, async (ask) => {
      assert.equal((await ask("GET /office")).status, 403);
      assert.equal((await ask("GET /here")).status, 200);
      assert.equal((await ask("GET /both")).status, 403);
    });
  });

  it("go by the client that trusted proxies tell, IPv6 as well, and never by what others say", async () => {
    const routes = [
      openRoute({ addresses: { allow: ["2001:db8::/32", "203.0.113.0/24"], deny: ["2001:db8:bad::/48"] } }),
    ];
    const from = (address: string): string => `X-Forwarded-For: ${address}`;
    const trusted = { trustedProxies: ["loopback"] };
    await through({ routes }, async (ask) => assert.equal((await ask("GET /", from("203.0.113.7"))).status, 403));
    await through(
      { routes },
      async (ask) => {
        for (const [address, status] of [
          ["203.0.113.7", 200],
          ["::ffff:203.0.113.7", 200],
          ["[2001:DB8::7]:4711", 200],
          ["2001:db8:0:0:0:0:0:7", 200],
          ["2001:db8:bad::7", 403],
          ["2001:db9::7", 403],
          ["203.0.114.7", 403],
          ["nonsense", 403],
        ] as const) {
          assert.equal((await ask("GET /", from(address))).status, status, address);
        }
      },
      trusted,
    );
  });

  it("hold for the questions of pages too", async () => {
    const routes = [openRoute({ cors: { origins: ["*"] }, addresses: { deny: ["loopback"] } })];
    await through({ routes }, async (ask) => {
      assert.equal((await ask("OPTIONS /", ...preflight("https://a.example", "GET"))).status, 403);
    });
  });

  it("must be networks", () => {
    assert.throws(() => parseGatewayDocument({ addresses: { deny: ["10.0.0.0/40"] }, routes: [] }), {
      message: /CIDR/,
    });
    assert.throws(() => parseGatewayDocument({ addresses: { allow: [] }, routes: [] }), {
      message: /addresses\.allow/,
    });
  });
});

describe("security headers", () => {
  it("come where the service has none of its own, on every reply, and a route may have others or none", async () => {
    const routes = [
      openRoute({ name: "usual", match: { path: "/usual" } }),
      openRoute({ name: "none", match: { path: "/none" }, securityHeaders: false }),
      openRoute({
        name: "more",
        match: { path: "/more" },
        securityHeaders: { contentSecurityPolicy: "default-src 'self'" },
      }),
    ];
    await through({ securityHeaders: true, routes }, async (ask) => {
      const usual = await ask("GET /usual");
      assert.deepEqual(usual.headers.get("x-content-type-options"), ["nosniff"]);
      assert.deepEqual(usual.headers.get("x-frame-options"), ["SAMEORIGIN"], "the service's own");
      assert.deepEqual(usual.headers.get("referrer-policy"), ["strict-origin-when-cross-origin"]);
      assert.deepEqual((await ask("GET /unknown")).headers.get("x-frame-options"), ["DENY"]);
      assert.equal((await ask("GET /none")).headers.has("x-content-type-options"), false);
      assert.deepEqual((await ask("GET /more")).headers.get("content-security-policy"), ["default-src 'self'"]);
    });
    await through({ routes: [openRoute()] }, async (ask) => {
      assert.equal((await ask("GET /")).headers.has("x-content-type-options"), false);
    });
  });
});
