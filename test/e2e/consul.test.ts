// With a real Consul each app is a process of its own: they find each other, and whatever dies there, callers get right answers.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { openDatabase, sql } from "@plinth/database";
import { type ConsulAgent, startConsul } from "../../scripts/servers/index.ts";
import { instancesIn } from "../support/consul.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { ask, seriesOf } from "../support/http.ts";
import { startLoad } from "../support/load.ts";
import { type Platform, platformCommand, portVariables, startPlatform } from "../support/platform.ts";
import { describe as list, killNow, type ProcessInfo, treeOf, untilGone } from "../support/processes.ts";
import { claimsFor, readSigningKey, signToken } from "../support/tokens.ts";
import { until } from "../support/until.ts";

const signingKeyPath = join(import.meta.dirname, "../../.cache/platform/issuer-key.json");
const apps = ["issuer", "audit", "notes", "greeter", "gateway"];
const stopLimitMs = 5_000;
/** A check every 500 ms, and what it takes to hear of its verdict. */
const noticeLimitMs = 10_000;
/** A new instance starts slowly, and its first replies, before it is warm, speak against it for a while. */
const inUseLimitMs = 30_000;

let consul: ConsulAgent;
let database: TestDatabase;
let environment: Record<string, string>;
let platform: Platform;

before(async () => {
  [consul, database] = await Promise.all([startConsul(), createTestDatabase()]);
  environment = { PLINTH_CONSUL_ADDR: consul.address, PLINTH_DATABASE_URL: database.url };
  platform = await startPlatform({ environment });
});
after(async () => {
  await platform?.[Symbol.asyncDispose]();
  await database?.[Symbol.asyncDispose]();
  await consul?.stop();
});

const hello = () => `${platform.url}/hello/ada`;

/** One more instance, started by hand with the environment of the others. */
const startInstance = (name: string): Promise<Platform> =>
  startPlatform({
    start: platformCommand("--app", name),
    environment: { ...environment, ...portVariables(platform.ports) },
  });
const startGreeter = (): Promise<Platform> => startInstance("greeter");

/** The platform's own process of an app. */
function processOf(name: string): ProcessInfo {
  const found = treeOf(platform.pid).find(({ command }) => command.endsWith(`--app ${name}`));
  assert.ok(found, `no process of ${name} in ${list(treeOf(platform.pid))}`);
  return found;
}

async function greetingsBy(address: string): Promise<number> {
  const { text } = await ask(`${address}/metrics`);
  return seriesOf(text, "http_server_request_duration_seconds_count", { route: "/hello/:name" });
}

function logWithoutRequests(): string {
  const lines = platform.log().filter(({ message }) => message !== "request");
  return lines
    .map((line) => JSON.stringify(line))
    .slice(-30)
    .join("\n");
}

const passingGreeters = async (): Promise<number> =>
  (await instancesIn(consul.address)).filter(({ service, isPassing }) => service === "greeter" && isPassing).length;

/** Asks through the gateway until `address` has answered, as it does once the gateway has heard of it. */
async function untilInUse(address: string): Promise<void> {
  const before = await greetingsBy(address);
  let known: unknown;
  await until(
    async () => {
      assert.equal((await ask(hello())).status, 200);
      known = await instancesIn(consul.address);
      return (await greetingsBy(address)) > before;
    },
    () => `traffic at ${address}; Consul knows ${JSON.stringify(known)}; the log says:\n${logWithoutRequests()}`,
    inUseLimitMs,
  );
}

describe("the platform on Consul", () => {
  it("runs each app as a process of its own; the services are registered, and the gateway finds them", async () => {
    assert.equal(new Set(apps.map((name) => processOf(name).pid)).size, apps.length);
    await until(
      async () => (await instancesIn(consul.address)).filter(({ isPassing }) => isPassing).length === 3,
      "audit, greeter and notes pass their checks",
      noticeLimitMs,
    );
    const registered = await instancesIn(consul.address);
    const portOf = (name: string): string => new URL(platform.addressOf(name)).port;
    const found = registered.map(({ service, port }) => `${service} ${port}`).toSorted();
    assert.deepEqual(
      found,
      ["audit", "greeter", "notes"].map((name) => `${name} ${portOf(name)}`),
    );
    const greeting = await ask(hello());
    assert.deepEqual([greeting.status, greeting.text], [200, '{"message":"Hello, ada"}']);
    const token = signToken(await readSigningKey(signingKeyPath), claimsFor("petra", "notes:read notes:write"));
    assert.equal((await ask(`${platform.url}/notes`, { token, body: { text: "through Consul" } })).status, 201);
    assert.match((await ask(`${platform.url}/notes`, { token })).text, /through Consul/);
  });

  it("shows on the command line what is registered, with its health, version and zone", async () => {
    const command = [join(import.meta.dirname, "../../cmd/plinth/src/main.ts"), "services", "--consul", consul.address];
    const { stdout } = await promisify(execFile)(process.execPath, ["--conditions=plinth-source", ...command]);
    for (const name of ["audit", "greeter", "notes"])
      assert.match(
        stdout,
        new RegExp(`^${name} +passing +1\\.0\\.0 +local +127\\.0\\.0\\.1 .*${name}-[0-9a-f-]{36}`, "m"),
      );
  });

  it("shares the traffic between two instances, and SIGTERM of one under load loses no request", async (t) => {
    await using second = await startGreeter();
    const addresses = [platform.addressOf("greeter"), second.addressOf("greeter")];
    await untilInUse(addresses[1]!);

    const before = await Promise.all(addresses.map(greetingsBy));
    const load = startLoad({ url: hello() });
    await load.untilMore(400);
    const now = await Promise.all(addresses.map(greetingsBy));
    const shares = now.map((count, index) => count - before[index]!);
    t.diagnostic(`shares of the load: ${shares.join(" and ")}`);
    const total = shares[0]! + shares[1]!;
    // The faster one gets more.
    for (const share of shares) assert.ok(share > total / 20, `shares ${shares.join(" and ")}`);

    second.signal("SIGTERM");
    const exit = await second.exit;
    await load.untilMore(400);
    const { statuses, ...rest } = await load.stop();
    assert.deepEqual(exit, { code: 0, signal: null }, second.stderr());
    assert.deepEqual(Object.keys(statuses), ["200"], JSON.stringify(statuses));
    assert.deepEqual(rest, { broken: [], refused: 0, unaccepted: 0 });
    assert.equal(await passingGreeters(), 1);
  });

  it("loses no write either, which nobody may send twice, when SIGTERM ends one of two instances under load", async () => {
    await using second = await startInstance("notes");
    const key = await readSigningKey(signingKeyPath);
    // Enough writers for none to come near the limit.
    const tokens = Array.from({ length: 200 }, (_, index) =>
      signToken(key, claimsFor(`writer-${index}`, "notes:write")),
    );
    let turn = 0;
    const next = () => ({
      method: "POST",
      headers: { authorization: `Bearer ${tokens[turn++ % tokens.length]}`, "content-type": "application/json" },
      body: '{"text":"written under load"}',
    });
    const load = startLoad({ url: `${platform.url}/notes`, next });
    const served = async (): Promise<number> => {
      const { text } = await ask(`${second.addressOf("notes")}/metrics`);
      return seriesOf(text, "http_server_request_duration_seconds_count", { route: "/notes", status: "201" });
    };
    await until(async () => (await served()) > 50, "the second instance takes its share", noticeLimitMs);
    second.signal("SIGTERM");
    assert.deepEqual(await second.exit, { code: 0, signal: null }, second.stderr());
    await load.untilMore(200);
    const { statuses, ...rest } = await load.stop();
    assert.deepEqual(Object.keys(statuses), ["201"], JSON.stringify(statuses));
    assert.deepEqual(rest, { broken: [], refused: 0, unaccepted: 0 });
    const db = openDatabase({ url: database.url, schema: "notes", maxConnections: 1 });
    const { rows } = await db.query<{ count: string }>(sql`select count(*) from note where subject like 'writer-%'`);
    await db.close();
    assert.equal(Number(rows[0]?.count), statuses["201"], "each was written once");
  });

  it("stops asking an instance that SIGKILL has ended; until then a failure says its reason", async (t) => {
    await using second = await startGreeter();
    await untilInUse(second.addressOf("greeter"));
    await until(async () => (await passingGreeters()) === 2, "both pass their checks", noticeLimitMs);
    const load = startLoad({ url: hello() });
    await load.untilMore(200);
    const killedAtMs = performance.now();
    second.signal("SIGKILL");
    await until(async () => (await passingGreeters()) === 1, "its check fails", noticeLimitMs);
    t.diagnostic(`noticed after ${(performance.now() - killedAtMs).toFixed(0)} ms`);
    // The verdict is on its way to the gateway for a moment.
    await load.untilMore(100);
    const { statuses, ...rest } = await load.stop();
    t.diagnostic(`meanwhile: ${JSON.stringify(statuses)}`);
    assert.deepEqual(rest, { broken: [], refused: 0, unaccepted: 0 });
    for (const status of Object.keys(statuses)) {
      assert.match(status, /^(?:200|502 upstream_(?:unreachable|reset)|503 no_instance)$/);
    }
    const later = startLoad({ url: hello() });
    await later.untilMore(300);
    assert.deepEqual(Object.keys((await later.stop()).statuses), ["200"]);
  });

  it("answers 503 with Retry-After when a service is gone, others go on, and it is found when it is back", async (t) => {
    const { pid } = processOf("greeter");
    process.kill(pid, "SIGTERM");
    await untilGone(() => treeOf(platform.pid).filter((each) => each.pid === pid), stopLimitMs);
    const goneAtMs = performance.now();
    let answer = await ask(hello());
    await until(
      async () => {
        answer = await ask(hello());
        const { reason } = answer.json() as { reason?: string };
        assert.match(`${answer.status} ${reason}`, /^(?:502 upstream_(?:unreachable|reset)|503 no_instance)$/);
        return answer.status === 503;
      },
      () => `503, not ${answer.status} ${answer.text}`,
      15_000,
    );
    t.diagnostic(`503 ${(performance.now() - goneAtMs).toFixed(0)} ms after it had gone`);
    assert.match(answer.headers.get("retry-after") ?? "", /^[1-9]\d*$/);
    assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/);
    const token = signToken(await readSigningKey(signingKeyPath), claimsFor("quinn", "notes:read"));
    assert.equal((await ask(`${platform.url}/notes`, { token })).status, 200);

    await using again = await startGreeter();
    await until(async () => (await ask(hello())).status === 200, "greeter is found again", noticeLimitMs);

    // In the same breath, since the platform's own greeter is gone: the agent loses everything it knew.
    const load = startLoad({ url: hello(), connections: 2 });
    await consul.restart({ wipe: true });
    await until(
      async () => {
        const passing = (await instancesIn(consul.address)).filter(({ isPassing }) => isPassing);
        return (
          passing
            .map(({ service }) => service)
            .toSorted()
            .join() === "audit,greeter,notes"
        );
      },
      "all services are registered again",
      15_000,
    );
    await using another = await startGreeter();
    await untilInUse(another.addressOf("greeter"));
    const { statuses, ...rest } = await load.stop();
    assert.deepEqual(Object.keys(statuses), ["200"], "nobody noticed");
    assert.deepEqual(rest, { broken: [], refused: 0, unaccepted: 0 });
    for (const greeter of [again, another]) {
      greeter.signal("SIGTERM");
      assert.deepEqual(await greeter.exit, { code: 0, signal: null }, greeter.stderr());
    }
  });

  it("stops on Ctrl-C with exit code 0, takes itself out of Consul and leaves no process", async (t) => {
    const children = treeOf(platform.pid);
    const startedAtMs = performance.now();
    platform.interrupt();
    assert.deepEqual(await platform.exit, { code: 0, signal: null }, platform.stderr());
    const tookMs = performance.now() - startedAtMs;
    t.diagnostic(`stopped in ${tookMs.toFixed(0)} ms`);
    assert.ok(tookMs < stopLimitMs, `took ${tookMs} ms`);
    assert.deepEqual(await instancesIn(consul.address), []);
    assert.deepEqual(stillRunning(children), []);
  });

  it("leaves no app behind when its first process is killed, and nothing in Consul", async (t) => {
    await using killed = await startPlatform({ environment });
    const children = treeOf(killed.pid).filter(({ pid }) => pid !== killed.pid);
    assert.equal(children.length, apps.length, list(children));
    const startedAtMs = performance.now();
    killNow(killed.pid);
    await untilGone(() => stillRunning(children), stopLimitMs);
    t.diagnostic(`gone after ${(performance.now() - startedAtMs).toFixed(0)} ms`);
    assert.deepEqual(await instancesIn(consul.address), []);
  });
});

function stillRunning(processes: readonly ProcessInfo[]): readonly ProcessInfo[] {
  return processes.filter(({ pid, command }) =>
    treeOf(pid).some((each) => each.pid === pid && each.command === command),
  );
}
