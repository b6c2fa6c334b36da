import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { status } from "@grpc/grpc-js";
import { systemClock } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import { emptyScopes, failing, failingTracing, type Layer, layersAfter, named } from "../testing/failing.ts";
import { startGrpc, type TestGrpc, type TestGrpcOptions } from "../testing/grpc.ts";
import { failureOf } from "../testing/grpc-client.ts";

const before: readonly Layer<TestGrpcOptions>[] = [
  { name: "tracing", isBroken: named("startSpan"), options: failingTracing },
  {
    name: "the deadline's clock",
    isBroken: (method, [delayMs]) => method === "schedule" && Number(delayMs) > 7_000 && Number(delayMs) <= 7_777,
    options: (isBroken) => ({ clock: failing({ ...systemClock }, isBroken), settings: { deadlineMs: 7_777 } }),
  },
  {
    name: "the watch over the event loop",
    isBroken: named("nowMs"),
    options: (isBroken) => ({ loopDelay: failing({ nowMs: () => 0, close: () => {} }, isBroken) }),
  },
  {
    name: "the opening of its scope",
    isBroken: named("open"),
    options: (isBroken) => ({ scopes: failing(emptyScopes, isBroken) }),
  },
];

async function start({
  options,
  isBroken,
}: Layer<TestGrpcOptions>): Promise<TestGrpc & { readonly fails: { now: boolean } }> {
  const fails = { now: false };
  const grpc = await startGrpc({
    ...options((method, args) => fails.now && isBroken(method, args)),
    handlers: { say: ({ text }, call) => ({ text: call.scope ? text : `${text}!` }) },
  });
  return { ...grpc, fails };
}

const traceId = "0af7651916cd43dd8448eb211c80319c";
const metadata = { "x-request-id": "request-1", traceparent: `00-${traceId}-b7ad6b7169203331-01` };

async function assertWhole(grpc: TestGrpc): Promise<void> {
  assert.match((await grpc.client.say({ text: "x" })).text, /^x/);
  await until(() => grpc.lines.withMessage("call").length > 0);
  assert.match((await grpc.metrics.expose()).body, /^grpc_server_active_calls 0$/m);
}

describe("the recovery of a gRPC server is the outermost layer", () => {
  for (const layer of before) {
    it(`so that a failure of ${layer.name} is INTERNAL with the ids and without its text, and one report`, async () => {
      await using grpc = await start(layer);
      grpc.fails.now = true;
      const failure = await failureOf(grpc.client.say({}, { metadata }));
      grpc.fails.now = false;
      assert.deepEqual(
        [failure.code, failure.info?.reason, failure.traceId, failure.requestId],
        [status.INTERNAL, "ERR_INTERNAL", traceId, "request-1"],
      );
      assert.doesNotMatch(JSON.stringify(failure), /of a layer/);
      const reports = await grpc.reports();
      assert.deepEqual(
        reports.map(({ error, origin, attributes, ...ids }) => [
          error.message.slice(-17),
          origin,
          attributes["method"],
          ids.traceId,
          ids.requestId,
        ]),
        [["of a layer failed", "rpc", "plinth.transport.testing.v1.EchoService/Say", traceId, "request-1"]],
      );
      await assertWhole(grpc);
    });
  }

  for (const layer of layersAfter("call")) {
    it(`so that a failure of ${layer.name} takes no reply, and is one report with the ids`, async () => {
      await using grpc = await start(layer);
      grpc.fails.now = true;
      assert.match((await grpc.client.say({ text: "x" }, { metadata })).text, /^x/);
      await until(() => grpc.errors.stats().reported > 0);
      grpc.fails.now = false;
      assert.deepEqual(
        (await grpc.reports()).map(({ error, ...ids }) => [error.message.slice(-17), ids.traceId, ids.requestId]),
        [["of a layer failed", traceId, "request-1"]],
      );
      await assertWhole(grpc);
    });
  }
});
