// What somebody gets who clones the repository and types `npm start`: every line of the table and of the README, Ctrl-C, busy ports.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type Clone, cloneRepository } from "../support/clone.ts";
import { type Answer, ask, seriesOf } from "../support/http.ts";
import { asRecord } from "../support/json.ts";
import { findPlatformPorts, type Platform, portVariables, startPlatform, tableOf } from "../support/platform.ts";
import { occupyPort, untilFree } from "../support/ports.ts";
import { describe as list, killNow, treeOf, untilGone } from "../support/processes.ts";
import { runProgram, startProgram, userEnvironment } from "../support/program.ts";
import { until } from "../support/until.ts";
import { markedBlocks, runLines } from "../support/shell.ts";
import { claimsFor, foreignKey, readSigningKey, signToken, type SigningKey } from "../support/tokens.ts";

const stopLimitMs = 5_000;
const goneLimitMs = 2_000;
const both = "notes:read notes:write";
const npmStart = (folder: string) => ({ command: "npm", args: ["start"], folder });

let clone: Clone;
let platform: Platform;
let key: SigningKey;

before(
  async () => {
    clone = await cloneRepository();
    platform = await startPlatform({
      start: npmStart(clone.folder),
      environment: { CI: "true" },
      readyLimitMs: 200_000,
    });
    key = await readSigningKey(join(clone.folder, ".cache/platform/issuer-key.json"));
  },
  { timeout: 240_000 },
);
after(async () => {
  await platform?.[Symbol.asyncDispose]();
  await clone?.[Symbol.asyncDispose]();
});

const tokenOf = (sub: string, scope = both) => signToken(key, claimsFor(sub, scope));
const notesUrl = () => `${platform.url}/notes`;
const bodyOf = (answer: Answer) => answer.json() as Record<string, unknown>;

/** The gateway's own reply: a problem with its reason, and nothing else. */
function assertProblem(answer: Answer, status: number, reason: string): void {
  assert.equal(answer.status, status, answer.text);
  assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/);
  const { status: told, reason: given } = bodyOf(answer);
  assert.deepEqual({ told, given }, { told: status, given: reason });
}

// First, while alice has no notes yet: the README shows how many there are after its lines.
describe("the README's lines", () => {
  it("run as they stand, exit with 0 and print what the README shows", async () => {
    const { gateway, ops, issuer } = platform.ports;
    const readme = (await readFile(join(clone.folder, "README.md"), "utf8"))
      .replaceAll(":8080", `:${gateway}`)
      .replaceAll(":8081", `:${ops}`)
      .replaceAll(":8082", `:${issuer}`);
    const blocks = markedBlocks(readme);
    assert.ok(blocks.length >= 4, `the README has ${blocks.length} blocks that are marked to be run`);
    const outputs: string[] = [];
    for (const { lines, output } of blocks) {
      const written = await runLines(lines, clone.folder);
      outputs.push(...written.map((line) => line.output));
      if (output !== undefined)
        assert.equal(
          written
            .map((line) => line.output)
            .join("")
            .trim(),
          output,
        );
    }
    const all = outputs.join("\n");
    assert.match(all, /"reason":"token_missing"/);
    assert.match(all, /^\{"status":"pass","state":"ready","checks":\[/m);
    assert.match(all, /"name":"gateway\.keys","status":"pass",.*"intervalMs":5000,.*"since":/);
    assert.match(all, /^gateway_requests_total\{route="hello",method="GET",status_class="2xx",reason="none"\} \d/m);
    assert.match(all, /^# UNIT gateway_request_duration_seconds seconds$/m);
    assert.match(
      all,
      /^gateway_requests_total\{route="notes-write",method="POST",status_class="5xx",reason="none"\} 1$/m,
    );
    assert.match(all, /^\{"services":\[\{"service":"greeter","instances":\[\{"id":"greeter-[^"]+",.*"ejected":false/m);
    assert.match(all, /notes\.subject · module notes · one for each request/);
    assert.match(all, /^database\.maxConnections +10 +default$/m);
    assert.match(all, /^ +"operationId": "postNotes",$/m);
    assert.match(all, /^main, schema notes:\n {2}applied +001_create_note {2}/m);
    assert.match(all, /HTTP\/1\.1 201 Created\r\n/);
    assert.match(all, /\r\nlocation: \/notes\/[0-9a-f-]{36}\r\n/i);
    const listed = outputs.find((output) => output.startsWith('{"notes"'));
    const { notes } = JSON.parse(listed ?? "{}") as { notes: { text: string }[] };
    assert.deepEqual(
      notes.map(({ text }) => text),
      ["remember the milk"],
    );
    await followError(outputs);
  });
});

/** The error of the walk-through: nothing of the inside to its caller, and all of it to one line of the log, under the same trace. */
async function followError(outputs: readonly string[]): Promise<void> {
  const answer = outputs.find((output) => output.includes('"status":500')) ?? "";
  const { code, traceId } = asRecord(JSON.parse(answer));
  assert.equal(code, "ERR_INTERNAL");
  assert.doesNotMatch(answer, /database|sqlstate|22021/i);
  const logged = () => platform.log().filter((line) => line["trace_id"] === traceId && line["level"] === "error");
  await until(() => logged().length > 0, `a line of the error under trace ${String(traceId)}`, 30_000);
  assert.equal(logged().length, 1);
  assert.partialDeepStrictEqual(logged()[0], {
    service: "notes",
    origin: "request",
    route: "/notes",
    error: { type: "DatabaseError", message: "the statement failed (SQLSTATE 22021)" },
  });
}

describe("the printed table", () => {
  it("has the addresses of everything, and lines to try that run and exit with 0", async () => {
    const table = platform.table();
    for (const what of ["gateway", "greeter", "notes", "audit", "issuer's keys"]) {
      assert.match(platform.addressOf(what), /^http:\/\/127\.0\.0\.1:\d+/, what);
    }
    const from = table.indexOf("Try it:");
    const lines = table
      .slice(from)
      .split("\n")
      .slice(1)
      .map((line) => line.trim())
      .filter((line) => line !== "" && line !== "Ctrl-C stops everything.");
    assert.ok(lines.filter((line) => line.startsWith("curl")).length >= 3, table);
    const outputs = await runLines(lines, clone.folder);
    const curls = outputs.filter(({ line }) => line.startsWith("curl")).map(({ output }) => output);
    assert.equal(curls[0], '{"message":"Hello, ada"}');
    assert.match(curls[1] ?? "", /^HTTP\/1\.1 201 /);
    assert.match(curls[2] ?? "", /^\{"notes":\[/);
    assert.match(curls[3] ?? "", /"actor":\{"type":"user","id":"alice"\},"action":"notes\.add"/);
  });

  it("leads to /healthz, /ready and /metrics of the gateway and of every service", async () => {
    const services = ["notes", "greeter", "audit", "issuer's keys"].map(
      (what) => new URL(platform.addressOf(what)).origin,
    );
    for (const origin of [`http://127.0.0.1:${platform.ports.ops}`, ...services]) {
      const [healthz, ready, metrics] = await Promise.all(
        ["/healthz", "/ready", "/metrics"].map((path) => ask(`${origin}${path}`)),
      );
      assert.deepEqual([healthz?.status, ready?.status, metrics?.status], [200, 200, 200], origin);
      assert.equal(bodyOf(healthz!)["status"], "pass", origin);
      assert.equal(bodyOf(ready!)["status"], "pass", origin);
      assert.equal(seriesOf(metrics!.text, "app_info"), 1, origin);
    }
  });

  it("leads to the gRPC port of the greeter, which tells tools its contract", async () => {
    const url = `http://${platform.addressOf("greeter, gRPC")}/plinth.examples.greeter.v1.GreeterService/Greet`;
    const { code, stdout, stderr } = await runProgram(
      join(clone.folder, "node_modules/.bin/buf"),
      ["curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", '{"name":"ada"}', url],
      { folder: clone.folder, environment: userEnvironment(), limitMs: 20_000 },
    );
    assert.deepEqual([code, JSON.parse(stdout)], [0, { message: "Hello, ada" }], stderr);
  });

  it("leads to the issuer's keys, which hold nothing private", async () => {
    const { keys } = (await ask(platform.addressOf("issuer's keys"))).json() as { keys: Record<string, unknown>[] };
    assert.deepEqual(
      keys.map(({ kid, kty, crv, alg, d }) => ({ kid, kty, crv, alg, d })),
      [{ kid: key.id, kty: "EC", crv: "P-256", alg: "ES256", d: undefined }],
    );
    assert.equal(
      platform.addressOf("issuer's keys"),
      `http://127.0.0.1:${platform.ports.issuer}/.well-known/jwks.json`,
    );
  });

  it("has a token command: ES256, one hour, for the subject and scope asked for", async () => {
    const args = ["run", "-s", "token", "--", "--sub", "carol", "--scope", both];
    const { code, stdout } = await runProgram("npm", args, {
      folder: clone.folder,
      environment: userEnvironment(),
      limitMs: 20_000,
    });
    assert.equal(code, 0);
    const [header, claims] = stdout
      .trim()
      .split(".")
      .slice(0, 2)
      .map((part): Record<string, unknown> => JSON.parse(Buffer.from(part, "base64url").toString()));
    assert.equal(header!["alg"], "ES256");
    const { iss, aud, sub, scope, iat, exp } = claims!;
    assert.deepEqual({ iss, aud, sub, scope }, { iss: "plinth-dev", aud: "plinth", sub: "carol", scope: both });
    assert.equal(Number(exp) - Number(iat), 3_600);
    assert.equal((await ask(notesUrl(), { token: stdout.trim() })).status, 200);
  });
});

describe("the walk-through", () => {
  it("greets without a token, and without a limit", async () => {
    const answers = await Promise.all(Array.from({ length: 80 }, () => ask(`${platform.url}/hello/ada`)));
    for (const { status, text } of answers) assert.deepEqual([status, text], [200, '{"message":"Hello, ada"}']);
  });

  it("keeps notes: 201 with Location, read back, listed newest first, 204 and gone", async () => {
    const token = tokenOf("dora");
    const first = await ask(notesUrl(), { token, body: { text: "first" } });
    const second = await ask(notesUrl(), { token, body: { text: "second" } });
    assert.deepEqual([first.status, second.status], [201, 201]);
    const location = first.headers.get("location");
    assert.equal(location, `/notes/${String(bodyOf(first)["id"])}`);
    const found = await ask(`${platform.url}${location}`, { token });
    assert.deepEqual([found.status, bodyOf(found)["text"]], [200, "first"]);
    const { notes } = (await ask(notesUrl(), { token })).json() as { notes: { text: string }[] };
    assert.deepEqual(
      notes.map(({ text }) => text),
      ["second", "first"],
    );
    const removed = await ask(`${platform.url}${location}`, { token, method: "DELETE" });
    assert.deepEqual([removed.status, removed.text], [204, ""]);
    assert.equal((await ask(`${platform.url}${location}`, { token })).status, 404);
    assert.equal((await ask(`${platform.url}${location}`, { token, method: "DELETE" })).status, 404);
  });

  it("shows nobody the notes of another, nor lets them be deleted", async () => {
    const eve = tokenOf("eve");
    const frank = tokenOf("frank");
    const { headers } = await ask(notesUrl(), { token: frank, body: { text: "frank's own" } });
    const url = `${platform.url}${headers.get("location")}`;
    assert.deepEqual((await ask(notesUrl(), { token: eve })).json(), { notes: [] });
    // Nor by saying so in the gateway's own words.
    const spoofed = await ask(url, { token: eve, headers: { "plinth-subject": "frank", Plinth_Subject: "frank" } });
    assert.equal(spoofed.status, 404);
    assert.equal((await ask(url, { token: eve, method: "DELETE" })).status, 404);
    assert.equal((await ask(url, { token: frank })).status, 200);
  });

  it("answers 400 to a wrong body, naming the field, and to what is no JSON", async () => {
    const token = tokenOf("gina");
    for (const [body, pointer] of [
      [{ text: "" }, "/text"],
      [{ text: 1 }, "/text"],
      [{}, "/text"],
      [{ text: "fine", colour: "red" }, "/colour"],
      ["{not json", undefined],
    ] as const) {
      const answer = await ask(notesUrl(), { token, body });
      assert.equal(answer.status, 400, answer.text);
      assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/);
      const { errors } = bodyOf(answer) as { errors?: { pointer: string }[] };
      assert.equal(errors?.[0]?.pointer, pointer, answer.text);
    }
    assert.equal((await ask(`${notesUrl()}/not-a-uuid`, { token })).status, 400);
  });

  it("answers 401 with WWW-Authenticate to no token and to every bad one", async () => {
    const past = Math.floor(Date.now() / 1_000) - 7_200;
    const claims = claimsFor("mallory", both);
    const good = signToken(key, claims);
    const bad: Record<string, [token: string | undefined, reason: string]> = {
      none: [undefined, "token_missing"],
      garbage: ["garbage", "token_invalid"],
      expired: [signToken(key, { ...claims, iat: past, exp: past + 60 }), "token_expired"],
      "by a foreign key": [signToken(foreignKey(key), claims), "token_invalid"],
      "by a key of no known id": [signToken({ ...foreignKey(key), id: "other" }, claims), "token_invalid"],
      "of another issuer": [signToken(key, { ...claims, iss: "somebody" }), "token_invalid"],
      "for another audience": [signToken(key, { ...claims, aud: "other" }), "token_invalid"],
      "without an end": [signToken(key, { ...claims, exp: undefined }), "token_invalid"],
      unsigned: [`${signToken(key, claims, { alg: "none" }).split(".").slice(0, 2).join(".")}.`, "token_invalid"],
      "with another's signature": [good.slice(0, -20) + tokenOf("mallory").slice(-20), "token_invalid"],
    };
    for (const [name, [token, reason]] of Object.entries(bad)) {
      const answer = await ask(notesUrl(), token === undefined ? {} : { token });
      assertProblem(answer, 401, reason);
      assert.match(answer.headers.get("www-authenticate") ?? "", /^Bearer/, name);
    }
  });

  it("answers 403 to a token that lacks the scope, for reading and for writing", async () => {
    const reader = tokenOf("henry", "notes:read");
    assert.equal((await ask(notesUrl(), { token: reader })).status, 200);
    const refused = await ask(notesUrl(), { token: reader, body: { text: "no" } });
    assertProblem(refused, 403, "scope_missing");
    assert.match(refused.headers.get("www-authenticate") ?? "", /insufficient_scope/);
    assertProblem(await ask(notesUrl(), { token: tokenOf("henry", "notes:write") }), 403, "scope_missing");
    assertProblem(await ask(notesUrl(), { token: tokenOf("henry", "") }), 403, "scope_missing");
  });

  it("answers 404 to an unknown route", async () => {
    assertProblem(await ask(`${platform.url}/nothing/here`), 404, "route_not_found");
  });

  it("answers 429 with Retry-After to the 51st request of a subject in 10 s, and leaves others alone", async () => {
    const token = tokenOf("irene");
    const answers: Answer[] = [];
    while (answers.at(-1)?.status !== 429 && answers.length < 80) answers.push(await ask(notesUrl(), { token }));
    const passed = answers.filter(({ status }) => status === 200);
    assert.equal(passed.length, 50);
    const refused = answers.at(-1)!;
    assertProblem(refused, 429, "rate_limited");
    assert.match(refused.headers.get("retry-after") ?? "", /^(?:[1-9]|10)$/);
    assertProblem(await ask(notesUrl(), { token: tokenOf("irene") }), 429, "rate_limited");
    assert.equal((await ask(notesUrl(), { token: tokenOf("jack") })).status, 200);
    assert.equal((await ask(`${platform.url}/hello/ada`)).status, 200);
  });
});

describe("Ctrl-C", () => {
  it("stops everything within 5 s with exit code 0, and leaves no process, PostgreSQL included", async (t) => {
    const running = await clone.processes();
    assert.ok(
      running.some(({ command }) => command.includes("postgres")),
      list(running),
    );
    assert.ok(
      running.some(({ command }) => command.includes("examples/platform/main.ts")),
      list(running),
    );
    const startedAtMs = performance.now();
    platform.interrupt();
    assert.deepEqual(await platform.exit, { code: 0, signal: null }, platform.stderr());
    const tookMs = performance.now() - startedAtMs;
    t.diagnostic(`stopped in ${tookMs.toFixed(0)} ms`);
    assert.ok(tookMs < stopLimitMs, `took ${tookMs} ms`);
    await untilGone(() => treeOf(platform.pid), goneLimitMs);
    const left = await clone.processes();
    assert.deepEqual(left, [], list(left));
  });
});

describe("a second npm start", () => {
  it("is ready in under 3 s of work, on ports 8080, 8081 and 8082", async (t) => {
    const ports = [8_080, 8_081, 8_082];
    await untilFree(ports, 20_000);
    const startedAtMs = performance.now();
    await using program = await startProgram("npm", ["start"], {
      folder: clone.folder,
      environment: userEnvironment(),
    });
    await program.untilPrinted("The platform is ready.", 30_000);
    const wallMs = performance.now() - startedAtMs;
    const cpuMs = treeOf(program.pid).reduce((sum, process) => sum + process.cpuMs, 0);
    t.diagnostic(`ready after ${wallMs.toFixed(0)} ms, ${cpuMs} ms of CPU`);
    assert.ok(cpuMs < 3_000, `${cpuMs} ms of CPU in ${list(treeOf(program.pid))}`);
    assert.match(tableOf(program.stdout()), / http:\/\/127\.0\.0\.1:8080\n/);
    assert.equal((await ask("http://127.0.0.1:8080/hello/ada")).text, '{"message":"Hello, ada"}');
    assert.equal((await ask("http://127.0.0.1:8081/ready")).status, 200);
    assert.equal((await ask("http://127.0.0.1:8082/.well-known/jwks.json")).status, 200);
    // What was kept is still there: the notes, and the key that tokens are verified with.
    const { notes } = (await ask("http://127.0.0.1:8080/notes", { token: tokenOf("frank") })).json() as {
      notes: unknown[];
    };
    assert.equal(notes.length, 1);
    // Killed without a chance to stop anything, it takes its PostgreSQL along all the same.
    killNow(-program.pid);
    await until(
      async () => (await clone.processes()).length === 0,
      "everything ends with a platform that is killed",
      stopLimitMs,
    );
  });

  it("is stopped in order by a Ctrl-C while it starts, with exit code 0", async () => {
    await using program = await startProgram("npm", ["start"], {
      folder: clone.folder,
      environment: { ...userEnvironment(), ...portVariables(await findPlatformPorts()) },
    });
    await program.untilPrinted("embedded PostgreSQL started", 30_000);
    program.interrupt();
    assert.deepEqual(await program.exit, { code: 0, signal: null }, program.stderr());
    const left = await clone.processes();
    assert.deepEqual(left, [], list(left));
  });
});

describe("a busy port", () => {
  for (const [name, variable] of [
    ["gateway", "PLINTH_GATEWAY_PORT"],
    ["ops", "PLINTH_OPS_PORT"],
    ["issuer", "PLINTH_ISSUER_PORT"],
  ] as const) {
    it(`of the ${name} fails the start, names the port and ${variable}, and stops what was started`, async () => {
      const ports = await findPlatformPorts();
      await using _occupied = await occupyPort(ports[name]);
      const { code, stdout, stderr } = await runProgram("npm", ["start"], {
        folder: clone.folder,
        environment: { ...userEnvironment(), ...portVariables(ports) },
        limitMs: 30_000,
      });
      assert.equal(code, 1, stderr);
      assert.match(stderr, new RegExp(`\\b${ports[name]}\\b.*${variable}`), stderr);
      assert.doesNotMatch(stdout, /The platform is ready/);
      const left = await clone.processes();
      assert.deepEqual(left, [], list(left));
    });
  }
});
