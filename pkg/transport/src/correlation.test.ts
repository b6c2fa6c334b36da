// One request, and the same ids wherever somebody looks for it: log lines, error report, problem document, exemplar.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { withSpan } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import { startHttp } from "./testing/http.ts";
import { RecordingTracing } from "./testing/recording-tracing.ts";

const traceId = "a1".repeat(16);

describe("a request that fails in the server", () => {
  it("has the ids of its trace in each log line, the report, the problem and the exemplar, and leaves them nowhere else", async () => {
    const tracing = new RecordingTracing();
    await using http = await startHttp({
      tracing,
      routes: (app) => {
        app.get("/breaks", async () => {
          http.log.info("looking");
          await withSpan("deep", {}, async () => {
            await new Promise((resolve) => setImmediate(resolve));
            http.log.info("looking deeper");
            throw new Error("no store");
          });
        });
      },
    });
    http.log.info("before");
    const reply = await http.fetch("/breaks", { headers: { traceparent: `00-${traceId}-${"b".repeat(16)}-01` } });
    const problem: unknown = await reply.json();
    await until(() => tracing.spans[0]?.ends === 1);
    const [server] = tracing.spans;
    assert.equal(reply.status, 500);
    assert.equal(Reflect.get(Object(problem), "traceId"), traceId);
    assert.ok(!JSON.stringify(problem).includes("no store"));

    const [report] = await http.reports();
    assert.equal(report?.traceId, traceId);

    const lines = http.lines.lines.map((line): Record<string, unknown> =>
      typeof line === "string" ? JSON.parse(line) : line,
    );
    const of = (message: string) => lines.filter((line) => line["message"] === message);
    for (const message of ["looking", "looking deeper", "request"]) {
      assert.deepEqual(
        of(message).map((line) => line["trace_id"]),
        [traceId],
        message,
      );
      assert.equal(typeof of(message)[0]?.["span_id"], "string");
      assert.equal(of(message)[0]?.["request_id"], reply.headers.get("x-request-id"));
    }
    assert.deepEqual(
      of("before").map((line) => "trace_id" in line),
      [false],
    );

    const { body } = await http.metrics.expose({ accept: "application/openmetrics-text" });
    assert.match(
      body,
      new RegExp(
        `http_server_request_duration_seconds_bucket\\{.*route="/breaks".*# \\{trace_id="${traceId}",span_id="${server?.spanId}"\\}`,
      ),
    );
  });
});
