import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env } from "node:process";
import { after, describe, it } from "node:test";
import * as fc from "fast-check";
import { GatewayConfigError } from "../errors.ts";
import { startGateway } from "../testing/kit.ts";
import { readGatewayDocument } from "./document.ts";
import type { GatewayDocument } from "./schema.ts";

type Read = ReturnType<typeof readGatewayDocument>;

/** `PLINTH_FUZZ_RUNS=20000` for a long look; with `PLINTH_FUZZ_SEED`, at other documents. */
const numRuns = Number(env["PLINTH_FUZZ_RUNS"] ?? 16);
const seed = Number(env["PLINTH_FUZZ_SEED"] ?? 20_261_123);

const folder = mkdtempSync(join(tmpdir(), "plinth-documents-"));
const file = join(folder, "gateway.yaml");

const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const document: GatewayDocument = {
  jwt: {
    dev: {
      issuer: "https://i.example",
      audiences: ["a"],
      jwks: { keys: [{ ...publicKey.export({ format: "jwk" }), kid: "k" }] },
    },
  },
  rateLimits: { shared: { limit: 5, windowMs: 1_000 } },
  services: { s: { balancing: { policy: "roundRobin" } } },
  trailingSlash: "strict",
  routes: [
    {
      name: "notes",
      match: {
        path: ["/notes/:id<int>", "/notes"],
        methods: ["GET", "PUT"],
        host: "*.h.example",
        headers: { "x-a": "1" },
      },
      service: "s",
      auth: { scopes: ["notes:read"] },
      rateLimit: "shared",
      timeoutMs: 1_000,
      headers: { request: { set: { "x-by": "${claim.sub}" }, remove: ["x-c"] }, reply: { add: { "x-d": "1" } } },
    },
    {
      name: "open",
      match: { path: "/open/**" },
      service: "s",
      anonymous: true,
      rewrite: { prefix: "/inner" },
      retries: { attempts: 2, on: [503] },
      addresses: { deny: ["10.0.0.0/8"] },
      cors: { origins: ["https://a.example"] },
    },
  ],
};

/** What a place of the document is replaced by, or gets beside it. */
const anyValue = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    -1,
    0,
    1e9,
    1.5,
    "",
    "a",
    "*",
    "/",
    "/**",
    "${claim.x}",
    [],
    {},
    [[]],
    [null],
    { a: 1 },
    "x".repeat(5_000),
    "\u0000",
    "\ud800",
  ),
  fc.constantFrom<unknown>(
    "notes",
    "s",
    "shared",
    "/open/x",
    ["/a", "/a"],
    { any: ["b"] },
    "roundRobin",
    "GET",
    ["GET"],
    503,
  ),
  fc.integer().map((depth) => nested(Math.abs(depth) % 200)),
  fc.jsonValue({ maxDepth: 2 }),
);
const anyKey = fc.constantFrom(
  "nmae",
  "name",
  "constructor",
  "toString",
  "prototype",
  "a.b",
  "",
  "0",
  "x".repeat(1_100),
  "é",
  "auth",
  "anonymous",
);
interface Change {
  readonly at: number;
  readonly how: "replace" | "remove" | "add" | "twice";
  readonly key: string;
  readonly value: unknown;
}
const change: fc.Arbitrary<Change> = fc.record({
  at: fc.nat(1_000),
  how: fc.constantFrom("replace", "replace", "remove", "remove", "add", "twice"),
  key: anyKey,
  value: anyValue,
});

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < depth; level++) value = level % 2 === 0 ? [value] : { a: value };
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> | unknown[] {
  return typeof value === "object" && value !== null;
}

/** All mappings and lists with what is in them. */
function placesIn(value: unknown): [holder: Record<string, unknown> | unknown[], key: string][] {
  if (!isObject(value)) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    [[value, key] as const, ...placesIn(inner)].map(([holder, each]): [typeof holder, string] => [holder, each]),
  );
}

function changed(changes: readonly Change[]): unknown {
  const copy: unknown = structuredClone(document);
  for (const { at, how, key, value } of changes) {
    const places = placesIn(copy);
    const [holder, name] = places[at % places.length] ?? [];
    if (holder === undefined || name === undefined) continue;
    if (how === "add" && !Array.isArray(holder)) holder[key] = value;
    else if (how === "twice" && Array.isArray(holder)) holder.push(structuredClone(Reflect.get(holder, name)));
    else if (how === "remove" && Array.isArray(holder)) holder.splice(Number(name), 1);
    else if (how === "remove") Reflect.deleteProperty(holder, name);
    else Reflect.set(holder, name, value);
  }
  return copy;
}

/** What somebody may have put between, by mistake or not. */
const spice = fc.constantFrom(
  "&a ",
  "*a",
  "<<: *a\n",
  "!!binary ",
  "!!js/function 'x'",
  "? ",
  ": ",
  "- ",
  "{",
  "}",
  "[",
  "]",
  '"',
  "'",
  "|",
  ">",
  "%YAML 1.1\n",
  "\n---\n",
  "...\n",
  "\t",
  "\0",
  "\ufeff",
  "#",
  "@",
  "`",
  "\u2028",
  "__proto__: { polluted: true }\n",
  '"__proto__": {"polluted": true},',
  '"constructor": {"prototype": {"polluted": true}},',
  '"routes": [],',
  "~",
  ".inf",
  "0x1f",
  "2026-01-01",
  "\r",
  "\r\n",
);
const edits = fc.array(fc.tuple(fc.nat(4_000), fc.oneof(spice, fc.constant("")), fc.nat(6)), {
  minLength: 1,
  maxLength: 3,
});

/** Takes the document or refuses it with faults that say where and what: never anything else. */
function readOrRefuse(content: string | Buffer): Read | GatewayConfigError {
  writeFileSync(file, content);
  try {
    return readGatewayDocument(file);
  } catch (error) {
    assert.ok(error instanceof GatewayConfigError, String(error));
    assert.ok(error.faults.length > 0);
    for (const { key, problem, source } of error.faults) {
      assert.ok(key !== "" && problem !== "");
      assert.ok(problem.length < 2_000, `${problem.length} characters`);
      if (!problem.startsWith("cannot be read: ") && content.length > 0) assert.match(source, /^.*gateway\.yaml:\d+$/);
    }
    return error;
  } finally {
    assert.equal(Reflect.get({}, "polluted"), undefined);
  }
}

describe("a document", () => {
  after(() => rmSync(folder, { recursive: true }));
  it("with anything in any place is refused at the line of it, or served", async () => {
    await using running = await startGateway();
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 2 }), async (changes) => {
        const text = JSON.stringify(changed(changes), undefined, 1);
        const read = readOrRefuse(text);
        if (read instanceof GatewayConfigError) assertPlaced(read, text);
        else {
          taken++;
          await running.gateway.reload(read);
          const reply = await fetch(`${running.url}/open/x`);
          await reply.arrayBuffer();
          assert.ok(reply.status >= 300 && reply.status !== 500, `${reply.status}`);
        }
      }),
      { seed, numRuns },
    );
    assert.ok(taken > numRuns / 20, `${taken} of ${numRuns} were taken`);
    assert.equal(running.reports.length, 0);
  });

  it("with anything between its characters is refused or taken", () => {
    const json = JSON.stringify(document, undefined, 1);
    fc.assert(
      fc.property(edits, (all) => {
        let text = json;
        for (const [at, put, drop] of all)
          text = text.slice(0, at % text.length) + put + text.slice((at % text.length) + drop);
        readOrRefuse(text);
      }),
      { seed, numRuns },
    );
  });

  const bomb = [
    "a: &a [x, x]",
    ...Array.from("bcdefghij", (name, at) => `${name}: &${name} [${`*${"abcdefghi"[at]}, `.repeat(9)}x]`),
  ].join("\n");
  const corpus: [what: string, content: string | Buffer, problem: RegExp][] = [
    ["aliases that multiply", bomb, /aliases and anchors are not followed/],
    ["an alias of what holds it", "routes: &a [*a]", /aliases and anchors/],
    ["a merge", "a: &a {b: 1}\nroutes: []\nc:\n  <<: *a", /aliases|unknown key/],
    ["lists without end", `routes: ${"[".repeat(10_000)}`, /nested/],
    ["mappings without end", `routes: ${'{"a":'.repeat(5_000)}`, /nested|expected|Map/i],
    ["mappings within each other that end", `routes: ${'{"a":'.repeat(500)}1${"}".repeat(500)}`, /nested deeper than/],
    ["more than a megabyte", `#${"x".repeat(1_048_576)}`, /at most 1048576 are read/],
    ["no UTF-8", Buffer.from("routes: [\xff]", "latin1"), /cannot be read/],
    ["UTF-16", Buffer.from("\ufeffroutes: []", "utf16le"), /cannot be read/],
    ["`__proto__`", '{"__proto__": {"polluted": true}, "routes": []}', /this key is never allowed/],
    [
      "`constructor` within",
      "routes: []\nservices: {constructor: {prototype: {polluted: true}}}",
      /this key is never allowed/,
    ],
    ["a key twice", "routes: []\nroutes: []", /stands twice, first at .*:1/],
    ["a key twice, once escaped", '{"routes": [], "r\\u006futes": []}', /stands twice/],
    ["two documents", "routes: []\n---\nroutes: []", /a second document/],
    ["a tag", "routes: !!js/function 'x'", /tag/i],
    ["a list", "- routes", /must hold a mapping/],
    ["nothing", "", /routes|expected/],
  ];
  for (const [what, content, problem] of corpus)
    it(`that is ${what} is refused`, () => {
      const read = readOrRefuse(content);
      assert.ok(read instanceof GatewayConfigError);
      assert.match(read.faults.map((fault) => fault.problem).join("\n"), problem);
    });

  it("is the same with a byte order mark, as JSON and as YAML", () => {
    const json = JSON.stringify(document);
    assert.ok("routes" in readOrRefuse(json));
    assert.deepEqual(readOrRefuse(`\ufeff${json}`), readOrRefuse(json));
  });
});

/** The line of a fault names the last of its keys that is there. */
function assertPlaced({ faults }: GatewayConfigError, text: string): void {
  const lines = text.split("\n");
  for (const { key, source, problem } of faults) {
    const line = lines[Number(source.split(":").at(-1)) - 1];
    assert.ok(line !== undefined, source);
    const [, name] = /^\s*"((?:[^"\\]|\\.)*)": /.exec(line) ?? [];
    if (name !== undefined && name.length < 1_000)
      assert.ok(key.includes(String(JSON.parse(`"${name}"`))), `${key} at ${line}: ${problem}`);
  }
}
