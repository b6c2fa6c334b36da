// The whole platform in one process is told to stop while its clients keep asking.
import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, get } from "node:http";
import { describe, it } from "node:test";
import { createTestDatabase } from "../support/database.ts";
import { startLoad } from "../support/load.ts";
import { startPlatform } from "../support/platform.ts";

const stopLimitMs = 5_000;
const connections = 6;

describe("SIGTERM under load on kept connections", () => {
  it("fails no request but connects after the listener has closed, and ends with exit code 0 in under 5 s", async (t) => {
    await using database = await createTestDatabase();
    await using platform = await startPlatform({ environment: { PLINTH_DATABASE_URL: database.url } });
    // One that asked once and then keeps its connection, as a pool does: it must not hold up the stop.
    const idle = new Agent({ keepAlive: true });
    const [reply] = await once(get(`${platform.url}/hello/ada`, { agent: idle }), "response");
    reply.resume();

    const load = startLoad({ url: `${platform.url}/hello/ada`, connections });
    await load.untilMore(500);
    const earlier = load.report();
    const startedAtMs = performance.now();
    platform.signal("SIGTERM");
    await load.ended;
    const exit = await platform.exit;
    const tookMs = performance.now() - startedAtMs;
    idle.destroy();

    const { statuses, unaccepted, ...rest } = load.report();
    const during = (statuses["200"] ?? 0) - (earlier.statuses["200"] ?? 0);
    t.diagnostic(`${statuses["200"]} replies, ${during} of them after SIGTERM; stopped in ${tookMs.toFixed(0)} ms`);
    assert.deepEqual(Object.keys(statuses), ["200"]);
    assert.deepEqual(rest, { broken: [], refused: connections });
    assert.ok(unaccepted <= connections, `${unaccepted} connections were reset`);
    assert.ok(during > 0, "requests were served while it announced that it would stop");
    assert.deepEqual(exit, { code: 0, signal: null }, platform.stderr());
    assert.ok(tookMs < stopLimitMs, `took ${tookMs} ms`);
    assert.equal(platform.stderr(), "");
  });
});
