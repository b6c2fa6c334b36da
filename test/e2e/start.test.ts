// How the platform starts where something else is given: another PostgreSQL, or a setting that is none.
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openDatabase, sql } from "@plinth/database";
import { createTestDatabase } from "../support/database.ts";
import { ask } from "../support/http.ts";
import { findPlatformPorts, platformCommand, portVariables, startPlatform } from "../support/platform.ts";
import { describe as list, listProcesses, treeOf } from "../support/processes.ts";
import { runProgram, userEnvironment } from "../support/program.ts";
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
