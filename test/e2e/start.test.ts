// What the platform does where something else is given: another PostgreSQL, reporters, a setting that is none.
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openDatabase, sql } from "@plinth/database";
import { Receiver } from "../../pkg/reporters/src/testing/receiver.ts";
import { createTestDatabase } from "../support/database.ts";
import { ask, seriesOf } from "../support/http.ts";
import { asRecord } from "../support/json.ts";
import { findPlatformPorts, platformCommand, portVariables, startPlatform } from "../support/platform.ts";
import { describe as list, listProcesses, treeOf } from "../support/processes.ts";
import { runProgram, userEnvironment } from "../support/program.ts";
import { until } from "../support/until.ts";
import { claimsFor, readSigningKey, signToken } from "../support/tokens.ts";

const signingKeyPath = join(import.meta.dirname, "../../.cache/platform/issuer-key.json");

/** Runs the platform where it must not start. */
async function failToStart(environment: Record<string, string>) {
  const { command, args, folder } = platformCommand();
  const ports = portVariables(await findPlatformPorts());
  const result = await runProgram(command, args, {
    folder,
    environment: { ...userEnvironment(), ...ports, ...environment },
    limitMs: 40_000,
  });
  assert.deepEqual([result.code, result.signal], [1, null], result.stderr);
  assert.doesNotMatch(result.stdout, /The platform is ready/);
  return result;
}

describe("PLINTH_DATABASE_URL", () => {
  it("is used in place of a PostgreSQL of its own", async () => {
    await using database = await createTestDatabase();
    await using platform = await startPlatform({ environment: { PLINTH_DATABASE_URL: database.url } });
    const started = treeOf(platform.pid);
    assert.ok(!started.some(({ command }) => command.includes("postgres")), list(started));
    const key = await readSigningKey(signingKeyPath);
    const token = signToken(key, claimsFor("olga", "notes:write"));
    const added = await ask(`${platform.url}/notes`, { token, body: { text: "kept elsewhere" } });
    assert.equal(added.status, 201, added.text);
    const db = openDatabase({ url: database.url, schema: "notes", maxConnections: 1 });
    const { rows } = await db.query<{ text: string }>(sql`select text from note where subject = 'olga'`);
    await db.close();
    assert.deepEqual(
      rows.map(({ text }) => text),
      ["kept elsewhere"],
    );
    platform.signal("SIGTERM");
    assert.deepEqual(await platform.exit, { code: 0, signal: null }, platform.stderr());
  });

  it("of a server that is not there fails the start, naming it without its password", async () => {
    const [free = 0] = Object.values(await findPlatformPorts());
    const url = `postgres://me:hunter2@127.0.0.1:${free}/none`;
    const { stdout, stderr } = await failToStart({ PLINTH_DATABASE_URL: url });
    assert.match(stderr, new RegExp(`notes did not start: .*127\\.0\\.0\\.1:${free}`));
    assert.doesNotMatch(stdout + stderr, /hunter2/);
  });
});

describe("an error", () => {
  it("goes to the webhook and to Sentry that the environment names, under the trace that its caller was told", async () => {
    await using webhook = await Receiver.start();
    await using sentry = await Receiver.start();
    await using database = await createTestDatabase();
    await using platform = await startPlatform({
      environment: {
        PLINTH_DATABASE_URL: database.url,
        PLINTH_WEBHOOK_URL: `${webhook.url}/hook`,
        PLINTH_SENTRY_DSN: sentry.url.replace("//", "//key@").concat("/1"),
      },
    });
    const key = await readSigningKey(signingKeyPath);
    const token = signToken(key, claimsFor("pia", "notes:write"));
    const answer = await ask(`${platform.url}/notes`, { token, body: { text: "\u0000" } });
    assert.equal(answer.status, 500, answer.text);
    const { traceId } = asRecord(answer.json());

    const posted = asRecord(JSON.parse((await webhook.received(1)).body));
    assert.partialDeepStrictEqual(posted, {
      version: 1,
      reports: [
        {
          service: "notes",
          severity: "error",
          origin: "request",
          count: 1,
          traceId,
          error: { type: "DatabaseError", message: "the statement failed (SQLSTATE 22021)" },
        },
      ],
    });
    const envelope = (await sentry.received(1)).body;
    assert.match(envelope, /"service":"notes"/);
    assert.ok(envelope.includes(String(traceId)), envelope);

    platform.signal("SIGTERM");
    assert.deepEqual(await platform.exit, { code: 0, signal: null }, platform.stderr());
    assert.deepEqual([webhook.requests.length, sentry.requests.length], [1, 1], "one report for one error");
  });

  it("of a job is reported with its task and its trace, and the next run comes all the same", async (t) => {
    await using database = await createTestDatabase();
    await using platform = await startPlatform({
      environment: {
        PLINTH_DATABASE_URL: database.url,
        PLINTH_NOTES_KEEP_DAYS: "30",
        PLINTH_NOTES_PURGE_INTERVAL_MS: "100",
      },
    });
    const db = openDatabase({ url: database.url, schema: "notes", maxConnections: 1 });
    t.after(() => db.close());
    const errors = () => platform.log().filter(({ level }) => level === "error");
    await db.query(sql`alter table note rename to elsewhere`);
    await until(() => errors().length > 0, "a purge of a table that is not there fails", 20_000);
    await db.query(sql`alter table elsewhere rename to note`);
    const [{ service, origin, task, trace_id: traceId } = {}] = errors();
    assert.deepEqual({ service, origin, task }, { service: "notes", origin: "job", task: "notes.purge" });
    assert.match(String(traceId), /^[0-9a-f]{32}$/);

    await db.query(sql`insert into note (subject, text, created_at)
      values ('quin', 'old', now() - interval '31 days'), ('quin', 'young', now() - interval '29 days')`);
    const left = async () => (await db.query<{ text: string }>(sql`select text from note`)).rows;
    await until(async () => (await left()).length === 1, "the old note is deleted", 20_000);
    assert.deepEqual(await left(), [{ text: "young" }]);
    const metrics = (await ask(`${platform.addressOf("notes")}/metrics`)).text;
    assert.equal(seriesOf(metrics, "notes_changes_total", { change: "purged" }), 1);
    platform.signal("SIGTERM");
    assert.deepEqual(await platform.exit, { code: 0, signal: null }, platform.stderr());
  });
});

describe("a setting that is none", () => {
  it("fails the start with one report that names the variable, what it holds and what it may", async () => {
    await using database = await createTestDatabase();
    const environment = { PLINTH_DATABASE_URL: database.url, PLINTH_GATEWAY_PORT: "garbage" };
    const { stderr } = await failToStart(environment);
    assert.equal(stderr.split("PLINTH_GATEWAY_PORT").length - 1, 1, stderr);
    assert.match(stderr, /gateway did not start: /);
    assert.match(stderr, /gateway\.port.*garbage|garbage.*gateway\.port/);
    assert.doesNotMatch(stderr, /\n\s+at /, "no stack");
    const left = listProcesses().filter(({ command }) => command.includes(database.url));
    assert.deepEqual(left, []);
  });
});
