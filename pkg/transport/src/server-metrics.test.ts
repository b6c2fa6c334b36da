import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Metrics } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import { startGrpc } from "./testing/grpc.ts";
import { failureOf } from "./testing/grpc-client.ts";
import { startHttp } from "./testing/http.ts";
import { RecordingTracing } from "./testing/recording-tracing.ts";

const openMetrics = async (metrics: Metrics): Promise<string> =>
  (await metrics.expose({ accept: "application/openmetrics-text" })).body;

/** The sets of labels that a metric has. */
async function seriesOf(metrics: Metrics, name: string): Promise<string[]> {
  const { body } = await metrics.expose();
  return [...body.matchAll(new RegExp(`^${name}_count(\\{.*\\}) \\d+$`, "gm"))].map(([, labels = ""]) => labels);
}

describe("the latency of a server", () => {
  it("names the trace of a recent request beside its bucket, over HTTP", async () => {
    const tracing = new RecordingTracing();
    await using http = await startHttp({ tracing, routes: (app) => void app.get("/", async () => "x") });
    await (await http.fetch("/")).text();
    await until(() => tracing.spans[0]?.ends === 1);
    assert.match(
      await openMetrics(http.metrics),
      new RegExp(
        `^http_server_request_duration_seconds_bucket\\{.*# \\{.*trace_id="${tracing.spans[0]?.traceId}"`,
        "m",
      ),
    );
  });

  it("names the trace of a recent call beside its bucket, over gRPC", async () => {
    const tracing = new RecordingTracing();
    await using grpc = await startGrpc({ tracing });
    await grpc.client.say({});
    await until(() => tracing.spans[0]?.ends === 1);
    assert.match(
      await openMetrics(grpc.metrics),
      new RegExp(`^grpc_server_call_duration_seconds_bucket\\{.*# \\{.*trace_id="${tracing.spans[0]?.traceId}"`, "m"),
    );
  });

  it("has one series for all statuses that mean nothing", async () => {
    await using http = await startHttp({
      routes: (app) =>
        void app.get<{ Params: { status: string } }>("/:status", async ({ params }, reply) =>
          reply.code(Number(params.status)).send("x"),
        ),
    });
    for (const status of [200, 299, 418, 499, 599, 555]) assert.equal((await http.fetch(`/${status}`)).status, status);
    await until(() => http.lines.withMessage("request").length === 6);
    assert.deepEqual(
      (await seriesOf(http.metrics, "http_server_request_duration_seconds")).toSorted(),
      ["200", "418", "499", "_OTHER"].map((status) => `{method="GET",route="/:status",status="${status}"}`),
    );
  });

  it("has one series for all methods that nobody serves, over gRPC", async () => {
    await using grpc = await startGrpc();
    for (let number = 0; number < 50; number++)
      await failureOf(grpc.client.raw(`/package.Service${number}/Method${number}`, new Uint8Array()));
    assert.deepEqual(await seriesOf(grpc.metrics, "grpc_server_call_duration_seconds"), [
      '{method="unmatched",status="unimplemented"}',
    ]);
  });
});
