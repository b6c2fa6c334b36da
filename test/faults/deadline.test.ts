// A handler outlives its deadline with a statement under way: its caller is answered, the statement is cancelled in the
// database, and what comes late is nobody's answer.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openDatabase, sql } from "@plinth/database";
import { createTestDatabase } from "../support/database.ts";
import { ask } from "../support/http.ts";
import { asRecord } from "../support/json.ts";
import { logOf } from "../support/platform.ts";
import { startService } from "../support/service.ts";
import { until } from "../support/until.ts";

const limitMs = 20_000;

describe("a handler that outlives its deadline in a statement", { timeout: 120_000 }, () => {
  it("has its caller answered with 504, the statement cancelled, and its connection free for the next", async () => {
    await using server = await createTestDatabase();
    const watcher = openDatabase({ url: server.url, schema: "public" });
    const sleeping = async (): Promise<number> => {
      const found = sql<{
        readonly count: number;
      }>`select count(*)::int as count from pg_stat_activity where state = 'active' and query like '%pg_sleep(600)%' and pid <> pg_backend_pid()`;
      const { rows } = await watcher.query(found);
      return rows[0]?.count ?? 0;
    };
    await watcher.connect();
    await using service = await startService("database-service", {
      environment: {
        PLINTH_DATABASE_URL: server.url,
        PLINTH_DATABASE_MAX_CONNECTIONS: "2",
        PLINTH_HTTP_DEADLINE_MS: "1500",
      },
    });
    const answers = Promise.all([1, 2].map(() => ask(`${service.url}/hold`)));
    await until(async () => (await sleeping()) === 2, "both statements run", limitMs);
    for (const answer of await answers) {
      assert.equal(answer.status, 504);
      assert.equal(asRecord(answer.json())["code"], "ERR_DEADLINE_EXCEEDED");
    }
    await until(async () => (await sleeping()) === 0, "the statements are cancelled", limitMs);
    for (let count = 0; count < 10; count++) assert.equal((await ask(`${service.url}/query`)).status, 200);
    await watcher.close();
    const held = () =>
      logOf(service.program.stdout()).filter(({ message, route }) => message === "request" && route === "/hold");
    await until(() => held().length >= 2, "the lines of both requests", limitMs);
    assert.deepEqual(
      held().map(({ status, code }) => [status, code]),
      [
        [504, "ERR_DEADLINE_EXCEEDED"],
        [504, "ERR_DEADLINE_EXCEEDED"],
      ],
    );
    service.program.signal("SIGTERM");
    assert.deepEqual(await service.program.exit, { code: 0, signal: null }, service.program.stderr());
    assert.equal(service.program.stderr(), "", "nothing was uncaught");
  });
});
