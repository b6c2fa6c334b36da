import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { readConfigFile } from "@plinth/kernel";
import { Ajv2020 } from "ajv/dist/2020.js";
import type { GatewayConfigError } from "../errors.ts";
import { toGatewaySettings } from "../options.ts";
import { knownDocument, parseDocument, parseGatewayDocument, readGatewayDocument } from "./document.ts";
import { loadDocument } from "./document-source.ts";
import { gatewayJsonSchema, schemaFile } from "./schema-file.ts";
import type { GatewayDocument } from "./schema.ts";

function withFile<T>(text: string, use: (file: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "plinth-gateway-"));
  try {
    const file = join(folder, "gateway.yaml");
    writeFileSync(file, text);
    return use(file);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The faults of a YAML document, as `key @line: problem`. */
function faultsOf(text: string): string[] {
  return withFile(text, (file) => {
    try {
      readGatewayDocument(file);
    } catch (error) {
      const { code, faults } = error as GatewayConfigError;
      assert.equal(code, "ERR_GATEWAY_CONFIG");
      return faults.map(({ key, problem, source }) => `${key} @${source.split(":").at(-1)}: ${problem}`);
    }
    return [];
  });
}

const minimal: GatewayDocument["routes"][number] = { name: "a", match: { path: "/a" }, service: "s", anonymous: true };

describe("readGatewayDocument", () => {
  it("fills in the defaults", () => {
    const document = withFile(
      "routes: [{ name: a, match: { path: /a }, service: s, anonymous: true }]",
      readGatewayDocument,
    );
    assert.deepEqual(JSON.parse(JSON.stringify(document)), {
      jwt: {},
      authServices: { timeoutMs: 500, cacheMs: 5_000, subjectType: "user" },
      rateLimits: {},
      services: {},
      trailingSlash: "strict",
      routes: [
        {
          ...minimal,
          priority: 0,
          rateLimitCost: 1,
          importance: "normal",
          timeoutMs: 30_000,
          maxBodyBytes: 10_485_760,
        },
      ],
    });
  });

  it("reports every fault at once, each with its line and the nearest known name", () => {
    const faults = faultsOf(
      [
        "rateLimit: {}", // 1
        "jwt:", // 2
        "  dev:", // 3
        "    issuer: plinth-dev", // 4
        "    audiences: [plinth]", // 5
        "    algorithms: [HS256]", // 6
        "    jwks: http://10.0.0.1/jwks.json", // 7
        "routes:", // 8
        "  - name: one", // 9
        "    match: { path: /a, method: [GET] }", // 10
        "    service: s", // 11
        "    anonymous: true", // 12
        "  - name: two", // 13
        "    match: { path: /b }", // 14
        "    service: s", // 15
        "  - name: two", // 16
        "    match: { path: [/c/:x, /c/:y] }", // 17
        "    service: s", // 18
        "    auth: {}", // 19
        "    anonymous: true", // 20
        "    rateLimit: shard", // 21
        "  - name: three", // 22
        "    match: { path: /b }", // 23
        "    service: s", // 24
        "    anonymous: true", // 25
        "    rewrite: { prefix: /x }", // 26
      ].join("\n"),
    );
    assert.deepEqual(
      faults.toSorted(),
      [
        'jwt.dev.algorithms.0 @6: Invalid option: expected one of "ES256"|"ES384"|"ES512"|"RS256"|"RS384"|"RS512"|"PS256"|"PS384"|"PS512"|"EdDSA"|"Ed25519", got "HS256"',
        'rateLimit @1: unknown key; did you mean "rateLimits"?',
        "routes.1 @13: needs `auth`, or `anonymous: true` for everybody",
        "routes.2.anonymous @20: has `auth` as well; keep the one that is meant",
        "routes.2.match.path @17: /c/:y: stands in the same route twice",
        'routes.2.name @16: route 2 has the name "two" already',
        'routes.2.rateLimit @21: there is no "shard" under rateLimits',
        "routes.3.match.path @23: /b: route 2 (two) takes the same requests; give them different hosts, paths or methods",
        'routes.3.rewrite @26: "/b" does not end in /**, so there is no prefix to rewrite',
        'routes.0.match.method @10: unknown key; did you mean "methods"?',
      ].toSorted(),
    );
  });

  it("looks into the alternative that is meant", () => {
    assert.deepEqual(
      faultsOf(
        "routes: [{ name: a, match: { path: /a }, service: s, anonymous: true, rateLimit: { limit: 5, windowMS: 1 } }]",
      ),
      [
        "routes.0.rateLimit.windowMs @1: expected number, got nothing",
        'routes.0.rateLimit.windowMS @1: unknown key; did you mean "windowMs"?',
      ],
    );
    assert.deepEqual(faultsOf("routes: [{ name: a, match: { path: 5 }, service: s, anonymous: true }]"), [
      "routes.0.match.path @1: expected string or array, got 5",
    ]);
  });

  it("reports a file that is absent, no YAML, or no mapping", () => {
    assert.throws(() => readGatewayDocument("/nonexistent/gateway.yaml"), {
      code: "ERR_GATEWAY_CONFIG",
      message: /cannot be read/,
    });
    assert.match(faultsOf("routes: [").join(), /@1/);
    assert.match(faultsOf("- a").join(), /mapping/);
    assert.match(faultsOf("__proto__: { routes: [] }").join(), /never allowed/);
  });

  const refused: [string, GatewayDocument["routes"][number], RegExp][] = [
    ["a path that no request can have", { ...minimal, match: { path: "/a%2fb" } }, /no request can match/],
    ["a token without an issuer", { ...minimal, anonymous: undefined, auth: {} }, /no issuer under `jwt`/],
    [
      "a header that is deleted",
      { ...minimal, match: { path: "/a", headers: { "x-forwarded-for": true } } },
      /deletes or manages/,
    ],
    ["a rule without a part", { ...minimal, match: { path: "/a", headers: { "x-a": {} } } }, /expected `prefix`/],
    ["a header in capitals", { ...minimal, match: { path: "/a", headers: { "X-A": "1" } } }, /in lower case/],
    ["a name that the pattern lacks", { ...minimal, rewrite: { path: "/b/:id" } }, /the pattern has no ":id"/],
    ["a rest that the pattern lacks", { ...minimal, rewrite: { path: "/b/**" } }, /which the pattern does not/],
    ["two rewrites", { ...minimal, rewrite: { path: "/b", prefix: "/c" } }, /keep one/],
    ["a rewrite that is not canonical", { ...minimal, rewrite: { path: "/b/../c" } }, /canonical form/],
    ["a prefix that is not", { ...minimal, match: { path: "/a/**" }, rewrite: { prefix: "/b%2fc" } }, /canonical form/],
    ["a star within a host", { ...minimal, match: { path: "/a", host: "a.*.b" } }, /lower-case host/],
    ["an upper-case host", { ...minimal, match: { path: "/a", host: "Example.org" } }, /lower-case host/],
    ["no method", { ...minimal, match: { path: "/a", methods: [] } }, /methods/],
    ["a scope with a space", { ...minimal, anonymous: undefined, auth: { scopes: ["a b"] } }, /without spaces/],
    ["a limit of nothing", { ...minimal, rateLimit: { limit: 0, windowMs: 1 } }, /limit/],
  ];
  for (const [what, route, problem] of refused) {
    it(`refuses ${what}`, () => {
      assert.throws(() => parseGatewayDocument({ routes: [route] }), {
        code: "ERR_GATEWAY_CONFIG",
        message: problem,
      });
    });
  }

  it("names both of two routes that a request could fit equally well", () => {
    const of = (name: string, headers: Record<string, string>) => ({
      ...minimal,
      name,
      match: { path: "/a", headers },
    });
    const routes = [of("one", { "x-a": "1" }), of("two", { "x-b": "1" })];
    assert.throws(() => parseGatewayDocument({ routes }), {
      message: /routes\.1\.match\.path.*\/a: a request can meet what this and route 1 \(one\) ask for/,
    });
    parseGatewayDocument({ routes: routes.map((route, priority) => ({ ...route, priority })) });
    const slashes = ["/b", "/b/"].map((path, at) => ({ ...minimal, name: `n${at}`, match: { path } }));
    parseGatewayDocument({ routes: slashes });
    assert.throws(() => parseGatewayDocument({ routes: slashes, trailingSlash: "ignore" }), {
      message: /route 1 \(n0\) takes the same requests/,
    });
  });

  it("refuses two providers of one issuer", () => {
    const provider = { issuer: "i", audiences: ["a"], jwks: "https://x/jwks" };
    assert.throws(
      () => parseGatewayDocument({ jwt: { a: provider, b: provider }, routes: [] }),
      /provider a has the same issuer/,
    );
  });
});

describe("toGatewaySettings", () => {
  it("names every setting that is out of range", () => {
    assert.throws(() => toGatewaySettings({ port: 70_000, upstream: { maxConnections: 0 }, requestTimeoutMs: 1 }), {
      code: "ERR_GATEWAY_CONFIG",
      message: /port: .*upstream\.maxConnections: /s,
    });
  });
});

describe("gateway.schema.json", () => {
  const validate = new Ajv2020({ strict: false, formats: { uri: true } }).compile(gatewayJsonSchema());
  for (const file of ["../../../../cmd/gateway/gateway.yaml", "../../../../examples/platform/gateway.yaml"]) {
    it(`and the reader both take ${file.slice(12)}`, () => {
      const path = join(import.meta.dirname, file);
      assert.ok(readGatewayDocument(path).routes.length > 0);
      assert.ok(validate(JSON.parse(JSON.stringify(readConfigFile(path).data))), JSON.stringify(validate.errors));
    });
  }

  it("refuses what the reader refuses by form", () => {
    for (const document of [
      {},
      { routes: [{}] },
      { routes: [{ ...minimal, mathc: 1 }] },
      { routes: [{ ...minimal, name: "A" }] },
    ]) {
      assert.equal(validate(document), false, JSON.stringify(document));
    }
  });

  it("is what schema.ts says; run src/config/schema-file.ts after a change", () => {
    assert.deepEqual(JSON.parse(readFileSync(schemaFile, "utf8")), JSON.parse(JSON.stringify(gatewayJsonSchema())));
  });
});

describe("a document that was checked already", () => {
  const places = { name: "code", places: new Map() };
  const source = { name: "test", load: async () => ({ data: { routes: [minimal] }, places: new Map() }) };
  const { signal } = new AbortController();

  it("is taken as it is once, by who gets it first; after that it may have been changed", async () => {
    const document = await loadDocument(source, { signal });
    assert.equal(parseDocument(document, places), document);
    document.routes.push(...document.routes);
    assert.throws(() => parseDocument(document, places), { message: /has the name "a" already/ });
  });

  it("by another process is held to its form and to the plugins of this one", () => {
    const given: unknown = JSON.parse(JSON.stringify(parseGatewayDocument({ routes: [minimal] })));
    assert.deepEqual(knownDocument(given, []), parseGatewayDocument({ routes: [minimal] }));
    const withPlugin = { routes: [{ ...minimal, plugins: { gone: true } }] };
    assert.throws(() => knownDocument(withPlugin, []), { message: /routes\.0\.plugins\.gone: unknown plugin/ });
    assert.throws(() => knownDocument({ routes: 1 }, []), { code: "ERR_GATEWAY_CONFIG" });
    const contracts = { ...minimal, grpc: { descriptors: "/nonexistent" } };
    assert.throws(() => knownDocument({ routes: [contracts] }, []), { message: /needs `protocol: http2`/ });
  });
});
