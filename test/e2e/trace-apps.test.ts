// HTTP, gRPC and SQL in one trace, from a user's service in either kind of module: with no flag, no patching and no order of imports.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type Collector, startCollector } from "@plinth/telemetry/testing";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { ask } from "../support/http.ts";
import { logOf } from "../support/platform.ts";
import { type Service, startService } from "../support/service.ts";
import { chainOf, kinds } from "../support/traces.ts";
import { until } from "../support/until.ts";

const method = "plinth.examples.greeter.v1.GreeterService/Greet";
const preload = join(import.meta.dirname, "../programs/third-party-spans.mjs");

let database: TestDatabase;
before(async () => {
  database = await createTestDatabase();
});
after(() => database[Symbol.asyncDispose]());

const start = (collector: Collector, ending: "ts" | "cjs", flags: readonly string[] = []): Promise<Service> =>
  startService("traced-service", {
    ending,
    flags,
    environment: {
      PLINTH_DATABASE_URL: database.url,
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_BSP_SCHEDULE_DELAY: "50",
      OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test",
    },
  });

const headersOf = (traceId: string) => ({ traceparent: `00-${traceId}-${"b".repeat(16)}-01` });

describe("a trace of HTTP, gRPC and SQL", { timeout: 180_000 }, () => {
  for (const [ending, own] of [
    ["ts", []],
    ["cjs", ["internal greet"]],
  ] as const) {
    it(`has right parents in a service in ${ending === "ts" ? "an ES module" : "CommonJS"}, and its ids in the log`, async () => {
      await using collector = await startCollector();
      await using service = await start(collector, ending);
      const traceId = (ending === "ts" ? "1" : "2").repeat(32);
      const answer = await ask(`${service.url}/greet/Ada`, { headers: headersOf(traceId) });
      assert.deepEqual(answer.json(), { message: "Hello, Ada" });
      const expected = ["server GET /greet/:name", ...own, `client ${method}`, `server ${method}`, "client SELECT"];
      assert.deepEqual(await chainOf(collector, traceId, expected.length), expected);
      const inside = collector.spans.find(({ name, kind }) => name === method && kinds[kind] === "server");
      const line = () => logOf(service.program.stdout()).find(({ message }) => message === "greeting");
      await until(() => line() !== undefined, "the line of the request", 60_000);
      assert.deepEqual([line()?.["trace_id"], line()?.["span_id"]], [traceId, inside?.spanId]);
      assert.ok(
        !collector.spans.some(({ attributes }) => String(attributes["url.path"]).includes("/ready")),
        "no probe is traced",
      );
    });
  }

  for (const ending of ["ts", "cjs"] as const) {
    it(`has what another library makes, where the preload is there, in ${ending === "ts" ? "an ES module" : "CommonJS"}`, async () => {
      await using collector = await startCollector();
      await using service = await start(collector, ending, ["--import", preload]);
      const traceId = (ending === "ts" ? "3" : "4").repeat(32);
      assert.equal((await ask(`${service.url}/asks`, { headers: headersOf(traceId) })).text, "asked");
      const expected = ["server GET /asks", "client GET", "server GET /plain"];
      assert.deepEqual(await chainOf(collector, traceId, expected.length), expected);
      assert.doesNotMatch(service.program.stdout(), /another OpenTelemetry SDK/);
    });
  }
});
