import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { startPrometheus } from "./prometheus.ts";
import { lintMetrics } from "./promtool.ts";

/** A process with this text at `/metrics`. */
async function serve(text: string) {
  const server = createServer((_, response) => response.end(text)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const close = (): void => {
    server.close();
    server.closeAllConnections();
  };
  return { target: `127.0.0.1:${port}`, [Symbol.dispose]: close };
}

describe("startPrometheus", () => {
  it("scrapes what it is told to, answers queries, and ends when it is told to, which may be twice", async () => {
    using served = await serve("notes_total 7\n");
    await using prometheus = await startPrometheus({ targets: [served.target] });
    let found: string[] = [];
    while (found.length === 0) {
      await delay(50);
      const { result } = (await prometheus.ask("query", { query: "notes_total" })) as { result: { value: string[] }[] };
      found = result.map(({ value }) => value[1] ?? "");
    }
    assert.deepEqual(found, ["7"]);
    assert.equal(prometheus.warnings(), "");
    await prometheus.stop();
    await prometheus.stop();
    assert.throws(() => process.kill(prometheus.pid, 0), { code: "ESRCH" });
  });

  it("tells what the server printed when it does not come up", async () => {
    await assert.rejects(startPrometheus({ targets: ["not a target/"] }), {
      code: "ERR_SERVER_START",
      message: /did not come up; it printed:\n.*not a valid hostname/s,
    });
  });
});

describe("lintMetrics", () => {
  it("says nothing of metrics as they should be", async () => {
    assert.equal(await lintMetrics("# HELP notes_total Notes.\n# TYPE notes_total counter\nnotes_total 7\n"), "");
  });

  it("says what is wrong with others, and with what are none", async () => {
    assert.match(
      await lintMetrics("# TYPE notes counter\nnotes 7\n"),
      /notes counter metrics should have "_total" suffix/,
    );
    assert.match(await lintMetrics("a b c d\n"), /error while linting/);
  });
});
