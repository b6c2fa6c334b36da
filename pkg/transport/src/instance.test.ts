import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { status } from "@grpc/grpc-js";
import { Health, HealthCheckResponse_ServingStatus as Serving } from "./gen/grpc/health/v1/health_pb.ts";
import { createHealth, createMetrics, systemClock } from "@plinth/kernel";
import { createOpsHandler } from "./ops/handler.ts";
import { failureOf } from "./testing/grpc-client.ts";
import { startGrpc } from "./testing/grpc.ts";
import { startHttp } from "./testing/http.ts";

const instanceId = "notes-1";

describe("a call that names the instance it is for", () => {
  it("is refused over HTTP by another before its handler or a middleware inside, with 421 for all to see", async () => {
    let handled = 0;
    await using http = await startHttp({
      instanceId,
      routes: (app) => void app.post("/notes", async () => ({ handled: ++handled })),
      middlewares: [
        { name: "inside", after: "instance", handle: async (_request, next) => void (handled++, await next()) },
      ],
    });
    const post = (headers: Record<string, string>): Promise<Response> =>
      http.fetch("/notes", { method: "POST", headers, body: null });
    const refused = await post({ "plinth-instance": "notes-0" });
    assert.equal(refused.status, 421);
    const problem: unknown = await refused.json();
    assert.partialDeepStrictEqual(problem, { code: "ERR_MISDIRECTED", retryable: true });
    assert.equal(JSON.stringify(problem).includes(instanceId), false, "who is here is not told");
    assert.equal(handled, 0);
    for (const headers of [{}, { "plinth-instance": instanceId }]) assert.equal((await post(headers)).status, 200);
    assert.equal((await post({ "plinth-instance": `${instanceId}, ${instanceId}` })).status, 421);
    assert.equal((await http.fetch("/nowhere", { headers: { "plinth-instance": "x" } })).status, 421);
    assert.match(
      (await http.metrics.expose()).body,
      /http_server_request_duration_seconds_count\{[^}]*status="421"\} \d/,
    );
    assert.deepEqual(await http.reports(), []);
  });

  it("is refused over gRPC with UNAVAILABLE, to be tried elsewhere", async () => {
    let handled = 0;
    await using grpc = await startGrpc({ instanceId, handlers: { say: ({ text }) => (handled++, { text }) } });
    const failure = await failureOf(grpc.client.say({}, { metadata: { "plinth-instance": "notes-0" } }));
    assert.deepEqual([failure.code, failure.info?.reason, handled], [status.UNAVAILABLE, "ERR_MISDIRECTED", 0]);
    await grpc.client.say({}, { metadata: { "plinth-instance": instanceId } });
    await grpc.client.say({});
    assert.equal(handled, 2);
  });

  it("is served by a server that has no id", async () => {
    await using http = await startHttp({ routes: (app) => void app.get("/", async () => "") });
    assert.equal((await http.fetch("/", { headers: { "plinth-instance": "any" } })).status, 200);
  });
});

describe("a check that names the instance it is for", () => {
  it("fails over HTTP where another has come to the address, whatever that one's readiness is", async () => {
    const health = createHealth({ clock: systemClock });
    health.register({ name: "all", run: () => {} });
    health.setPhase("ready");
    const ops = createOpsHandler({ health, metrics: createMetrics(), instanceId });
    await using http = await startHttp({ ops });
    const ask = async (method: string, named?: string): Promise<number> =>
      (await http.fetch("/ready", { method, headers: named === undefined ? {} : { "plinth-instance": named } })).status;
    for (const method of ["GET", "HEAD"])
      assert.deepEqual(
        [await ask(method), await ask(method, instanceId), await ask(method, "notes-0")],
        [200, 200, 421],
      );
    const told: unknown = await (await http.fetch("/ready", { headers: { "plinth-instance": "notes-0" } })).json();
    assert.partialDeepStrictEqual(told, { code: "ERR_MISDIRECTED" });
    health.close();
  });

  it("is NOT_FOUND over gRPC, and follows readiness for its own; neither is listed", async () => {
    await using grpc = await startGrpc({ instanceId });
    const check = (id: string) => grpc.client.unary(Health.method.check, { service: `plinth.instance/${id}` }).reply;
    assert.equal((await check(instanceId)).status, Serving.SERVING);
    assert.equal((await failureOf(check("notes-0"))).code, status.NOT_FOUND);
    const { statuses } = await grpc.client.unary(Health.method.list, {}).reply;
    assert.deepEqual(
      Object.keys(statuses).filter((name) => name.startsWith("plinth.instance")),
      [],
    );
  });
});
