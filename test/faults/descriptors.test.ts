// A service runs out of file descriptors because callers open more connections than it may have: those that it has are served,
// it lives and says so, and it takes new ones again as soon as there is room.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { Agent, type IncomingMessage, request } from "node:http";
import { connect, type Socket } from "node:net";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { ask } from "../support/http.ts";
import { type Service, startService } from "../support/service.ts";
import { until } from "../support/until.ts";

const limitMs = 20_000;
const descriptors = 256;

/** A connection that stays open and says nothing; what becomes of it is nobody's fault here. */
function dial({ url }: Service): Socket {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.on("error", () => {});
  return socket;
}

/** One request on a connection that is kept. */
async function askOn(agent: Agent, url: string): Promise<number | undefined> {
  const sent = request(url, { agent });
  sent.end();
  const [response]: IncomingMessage[] = await once(sent, "response", { signal: AbortSignal.timeout(limitMs) });
  response?.resume();
  if (response) await once(response, "end");
  return response?.statusCode;
}

describe(`a service with ${descriptors} file descriptors`, { timeout: 120_000 }, () => {
  it("serves those that are connected while callers want more, stays alive, and takes new ones when there is room", async () => {
    await using service = await startService("draining-service", {
      shell: `ulimit -n ${descriptors}; exec "$0" "$@"`,
      environment: { PLINTH_LOG_LEVEL: "error" },
    });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const askKept = (path: string): Promise<number | undefined> => askOn(agent, `${service.url}${path}`);
    assert.equal(await askKept("/works"), 200);

    const used = (): number => readdirSync(`/proc/${service.program.pid}/fd`).length;
    const before = used();
    const sockets = Array.from({ length: 2 * descriptors }, () => dial(service));
    await Promise.all(
      sockets.map(
        async (socket) => socket.connecting && Promise.race([once(socket, "connect"), once(socket, "close")]),
      ),
    );
    await until(
      () => used() >= descriptors - 2,
      () => `all descriptors are used, not ${used()}`,
      limitMs,
    );
    for (let round = 0; round < 20; round++) {
      assert.deepEqual([await askKept("/works"), await askKept("/healthz")], [200, 200]);
      await delay(20);
    }
    const open = sockets.filter(({ destroyed }) => !destroyed).length;
    assert.ok(open > 0, "some are held");

    for (const socket of sockets) socket.destroy();
    await until(
      async () => (await ask(`${service.url}/works`).catch(() => undefined))?.status === 200,
      "it takes new ones",
      limitMs,
    );
    for (let count = 0; count < 20; count++) {
      const { status } = await ask(`${service.url}/works`, { headers: { connection: "close" } });
      assert.equal(status, 200);
    }
    agent.destroy();
    await until(
      () => used() <= before,
      () => `as many descriptors as before, ${before}, are used, not ${used()}`,
      limitMs,
    );
    service.program.signal("SIGTERM");
    assert.deepEqual(await service.program.exit, { code: 0, signal: null }, service.program.stderr());
    assert.equal(service.program.stderr(), "", "nothing was uncaught");
  });
});
