// Two processes of one service listen on one port, each with a share of the connections; one of them may be stopped for another.
import assert from "node:assert/strict";
import { Agent, get } from "node:http";
import { once } from "node:events";
import { describe, it } from "node:test";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { type Service, startService } from "../support/service.ts";
import { until } from "../support/until.ts";

const limitMs = 60_000;

describe("two processes on one port", { timeout: 120_000 }, () => {
  it("have each a share of the connections, and one goes on alone once the other has stopped", async () => {
    const [port = 0, ...ops] = await findFreePorts(3);
    const start = (opsPort = 0): Promise<Service> =>
      startService("draining-service", {
        opsPort,
        environment: {
          PLINTH_HTTP_PORT: String(port),
          PLINTH_HTTP_REUSE_PORT: "true",
          PLINTH_OPS_PORT: String(opsPort),
        },
      });
    await using first = await start(ops[0]);
    await using second = await start(ops[1]);
    const askOnce = async (): Promise<void> => {
      const agent = new Agent({ keepAlive: false });
      const [response] = await once(get(`http://127.0.0.1:${port}/works`, { agent }), "response");
      assert.equal(response.statusCode, 200);
      response.resume();
      await once(response, "end");
    };
    const served = ({ metric }: Service): Promise<number> =>
      metric("http_server_request_duration_seconds_count", { route: "/works" });
    let asked = 0;
    const bothServe = async (): Promise<boolean> => {
      await askOnce();
      asked++;
      return (await served(first)) > 0 && (await served(second)) > 0;
    };
    await until(bothServe, "each has had a connection", limitMs);
    const all = async (): Promise<number> => (await served(first)) + (await served(second));
    await until(async () => (await all()) === asked, "all are counted", limitMs);

    first.program.signal("SIGTERM");
    assert.deepEqual(await first.program.exit, { code: 0, signal: null }, first.program.stderr());
    const before = await served(second);
    for (let more = 0; more < 20; more++) await askOnce();
    await until(async () => (await served(second)) === before + 20, "it has served all that came", limitMs);
  });
});
