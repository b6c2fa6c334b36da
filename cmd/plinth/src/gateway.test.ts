import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { freePort } from "@plinth/kernel/testing";
import { ScriptedAgent } from "@plinth/registry/testing";
import { parseArguments } from "./arguments.ts";
import { askGateway } from "./gateway.ts";

let folder = "";

/** What a document of this text is answered with, in its folder; a line as it is printed. */
async function ask(...args: readonly string[]): Promise<{ readonly code: number; readonly stdout: string }> {
  const question = parseArguments(["gateway", ...args]);
  assert.ok(question.kind === "gateway");
  const lines: string[] = [];
  const code = await askGateway(
    { ...question, file: join(folder, question.file) },
    (line) => void lines.push(`${line}\n`),
  );
  return { code, stdout: lines.join("").replaceAll(`${folder}/`, "") };
}

const jwt = "jwt: { main: { issuer: i, audiences: [a], jwks: https://issuer.example/keys } }\n";

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "plinth-gateway-"));
});
after(() => rm(folder, { recursive: true }));

describe("plinth gateway check", () => {
  it("says that a document has no fault, how far that was looked into, and what to look at", async () => {
    await writeFile(
      join(folder, "good.yaml"),
      `${jwt}routes:
  - { name: web, match: { path: /** }, service: web, anonymous: true }
  - { name: admin, match: { path: /admin/** }, service: web, auth: {} }
`,
    );
    const { code, stdout } = await ask("check", "good.yaml");
    assert.equal(code, 0);
    assert.match(
      stdout,
      /^good\.yaml:4: warning: routes\.1\.match\.path: by route web, .* gets \/ADMIN \/admin; .* and \d+ more, and must/m,
    );
    assert.match(stdout, /^good\.yaml: 2 routes, \d{3} request targets put through every stage: no faults\n$/m);
  });

  it("tells every fault with its line and ends with 1, for programs too", async () => {
    const bad = `routes:
  - { name: web, match: { path: /a }, service: web, anonymous: true, tymeoutMs: 1 }
  - { name: other, match: { path: /a }, service: web }
`;
    await writeFile(join(folder, "bad.yaml"), bad);
    const text = await ask("check", "bad.yaml");
    assert.equal(text.code, 1);
    assert.match(text.stdout, /^bad\.yaml:2: routes\.0\.tymeoutMs: unknown key; did you mean "timeoutMs"\?$/m);
    assert.match(text.stdout, /^bad\.yaml:3: routes\.1: needs `auth`/m);
    assert.match(text.stdout, /^bad\.yaml: \d faults\n$/m);
    const json = await ask("check", "bad.yaml", "--json");
    assert.equal(json.code, 1);
    const { ok, faults, inputs } = JSON.parse(json.stdout);
    assert.deepEqual([ok, inputs, faults[0].source], [false, 0, "bad.yaml:2"]);
  });

  it("tells what is guarded and can be had all the same", async () => {
    await writeFile(
      join(folder, "open.yaml"),
      `${jwt}routes:
  - { name: admin, match: { path: /admin/** }, service: s, auth: {} }
  - { name: assets, match: { path: /assets/** }, service: s, anonymous: true, rewrite: { prefix: / } }
`,
    );
    const { code, stdout } = await ask("check", "open.yaml");
    assert.equal(code, 1);
    assert.match(
      stdout,
      /^open\.yaml:3: routes\.0\.match\.path: GET \/assets\/admin goes by route assets, which is for everybody, to \/admin of service s$/m,
    );
  });

  it("ends with 1 for a file that is not there or no YAML, and with 2 for a command line that is none", async () => {
    await writeFile(join(folder, "none.yaml"), "routes: [\n");
    const [missing, none] = await Promise.all([ask("check", "missing.yaml"), ask("check", "none.yaml")]);
    assert.deepEqual([missing.code, none.code], [1, 1]);
    assert.match(missing.stdout, /missing\.yaml: cannot be read/);
    for (const args of [[], ["chekc", "a"], ["check"], ["check", "a", "b"], ["check", "a", "--from", "1.1.1.1"]])
      await assert.rejects(ask(...args), { name: "UsageError" }, args.join(" "));
  });

  it("is a command whose answer goes to standard output", async () => {
    await writeFile(join(folder, "none.yaml"), "routes: []\n");
    const main = join(import.meta.dirname, "main.ts");
    const args = ["--conditions=plinth-source", main, "gateway", "check", "none.yaml"];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: folder });
    assert.equal(stdout, "none.yaml: 0 routes: no faults\n");
  });
});

describe("plinth gateway explain", () => {
  const text = `${jwt}rateLimits: { all: { limit: 5, windowMs: 1000, by: address } }
routes:
  - { name: web, match: { path: /** }, service: web, anonymous: true }
  - { name: api, match: { path: /api/** }, service: api, anonymous: true, rateLimit: all, rewrite: { prefix: /v2 } }
  - { name: admin, match: { path: /admin/** }, service: admin, auth: { scopes: [root] } }
`;

  it("says what becomes of a request, and what was against the other routes", async () => {
    await writeFile(join(folder, "gateway.yaml"), text);
    const args = ["-H", "X-Forwarded-For: 6.6.6.6", "--header", "accept: */*", "--from", "192.0.2.1"];
    const { code, stdout } = await ask("explain", "gateway.yaml", "GET", "http://shop.example//api/x?y", ...args);
    assert.equal(code, 0);
    for (const line of [
      "outcome  forwarded to api",
      "path     /api/x?y at host shop.example",
      "route    api, by /api/**",
      "needs    nothing: it is for everybody",
      'limit    all: 5 in 1000 ms by "address"',
      "gets     GET /v2/x?y",
      "removed  x-forwarded-for: the gateway's own takes its place",
      "added    x-forwarded-for: 192.0.2.1",
      "lost     web, /**: its path is less exact",
      "lost     1 pattern for other paths",
    ])
      assert.ok(stdout.split("\n").includes(line), `${line} in ${stdout}`);
  });

  it("says what is set for the service, and where its static instances are", async () => {
    await writeFile(
      join(folder, "services.yaml"),
      `services: { web: { static: ["192.0.2.7:80"], health: { path: /up } } }
routes:
  - { name: web, match: { path: /** }, service: web, anonymous: true, hedging: { afterMs: 20 } }
`,
    );
    const { stdout } = await ask("explain", "services.yaml", "GET", "/");
    assert.match(stdout, /^health +\{"path":"\/up","intervalMs":10000,/m);
    assert.match(stdout, /^hedging +\{"afterMs":20,"max":1\}$/m);
    assert.match(stdout, /^instance +static 192\.0\.2\.7:80 in the document$/m);
  });

  it("answers programs, and says what a gateway refuses", async () => {
    await writeFile(join(folder, "gateway.yaml"), text);
    const { code, stdout } = await ask("explain", "gateway.yaml", "GET", "/admin/%2e%2e/admin/x", "--json");
    const { request, outcome, route } = JSON.parse(stdout);
    assert.deepEqual([code, request.path, route.name], [0, "/admin/x", "admin"]);
    assert.partialDeepStrictEqual(outcome, { kind: "refuse", status: 401, reason: "token_missing" });
    const token = await ask("explain", "gateway.yaml", "GET", "/admin", "-H", "authorization: Bearer a.b.c");
    assert.match(token.stdout, /^token +token_invalid \(malformed\); its signature was not checked$/m);
  });

  it("names the instances that Consul has, and goes on without where it cannot be asked", async () => {
    await writeFile(join(folder, "gateway.yaml"), text);
    await using agent = await ScriptedAgent.start(() => ({ index: 1, body: [] }));
    const none = await ask("explain", "gateway.yaml", "GET", "/", "--consul", agent.address);
    assert.match(none.stdout, /^instances +none is registered$/m);
    const gone = await ask("explain", "gateway.yaml", "GET", "/", "--consul", `127.0.0.1:${await freePort()}`);
    assert.equal(gone.code, 0);
    assert.match(gone.stdout, /^instances +not known: /m);
  });

  it("ends with 1 for a faulty document, and knows what is no command line", async () => {
    await writeFile(join(folder, "faulty.yaml"), "routes: 1\n");
    const { code, stdout } = await ask("explain", "faulty.yaml", "GET", "/");
    assert.equal(code, 1);
    assert.match(stdout, /^faulty\.yaml:1: routes: /);
    const wrong = [
      ["a"],
      ["a", "G T", "/"],
      ["a", "GET"],
      ["a", "GET", "/", "x"],
      ["a", "GET", "/", "-H", "x"],
      ["a", "GET", "/", "--from"],
    ];
    for (const args of wrong) await assert.rejects(ask("explain", ...args), { name: "UsageError" }, args.join(" "));
  });
});
