// One request, two processes and a database: one trace, as a collector sees it, and its id in the log lines of both.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type CollectedSpan, type Collector, startCollector } from "@plinth/telemetry/testing";
import { type ConsulAgent, startConsul } from "../../scripts/servers/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { type Answer, ask } from "../support/http.ts";
import { type Platform, startPlatform } from "../support/platform.ts";
import { claimsFor, readSigningKey, signToken } from "../support/tokens.ts";
import { until } from "../support/until.ts";

const signingKeyPath = join(import.meta.dirname, "../../.cache/platform/issuer-key.json");
const kinds: Readonly<Record<number, string>> = { 1: "internal", 2: "server", 3: "client" };

let collector: Collector;
let consul: ConsulAgent;
let database: TestDatabase;
let platform: Platform;
let token: string;

before(async () => {
  [collector, consul, database] = await Promise.all([startCollector(), startConsul(), createTestDatabase()]);
  platform = await startPlatform({
    environment: {
      PLINTH_CONSUL_ADDR: consul.address,
      PLINTH_DATABASE_URL: database.url,
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      PLINTH_TELEMETRY_EXPORT_INTERVAL_MS: "100",
    },
  });
  token = signToken(await readSigningKey(signingKeyPath), claimsFor("tracy", "notes:read notes:write"));
});
after(async () => {
  await platform?.[Symbol.asyncDispose]();
  await database?.[Symbol.asyncDispose]();
  await consul?.stop();
  await collector?.close();
});

/** The access log's lines for a reply, one of each app, by the request id that the reply bears. */
async function accessLines(answer: Answer): Promise<Record<string, Record<string, unknown>>> {
  const requestId = answer.headers.get("x-request-id");
  assert.ok(requestId !== null, "the reply names its request");
  const lines = () =>
    platform.log().filter((line) => line["request_id"] === requestId && line["message"] === "request");
  await until(() => lines().length >= 2, `log lines of request ${requestId}`, 30_000);
  return Object.fromEntries(lines().map((line) => [String(line["service"]), line]));
}

/** The one span that fits. */
function only(spans: readonly CollectedSpan[], service: string, kind: string): CollectedSpan {
  const found = spans.filter((span) => span.service === service && kinds[span.kind] === kind);
  assert.equal(found.length, 1, `one ${kind} span of ${service} in ${JSON.stringify(spans, undefined, 1)}`);
  return found[0]!;
}

async function traceOf(traceId: string, count: number): Promise<readonly CollectedSpan[]> {
  const isRoot = (span: CollectedSpan): boolean => span.traceId === traceId && span.parentSpanId === "";
  await collector.waitFor(isRoot);
  const spans = () => collector.spans.filter((span) => span.traceId === traceId);
  await until(
    () => spans().length >= count,
    () => `${count} spans, not ${JSON.stringify(spans(), undefined, 1)}`,
    30_000,
  );
  return spans();
}

describe("one trace", () => {
  for (const [name, status, operation, request] of [
    ["GET /notes", 200, "SELECT", {}],
    ["POST /notes", 201, "INSERT", { body: { text: "traced" } }],
  ] as const) {
    it(`of ${name} goes from the gateway over the service to SQL, with its id in the log of both processes`, async () => {
      const answer = await ask(`${platform.url}/notes`, { token, ...request });
      assert.equal(answer.status, status, answer.text);
      const lines = await accessLines(answer);
      assert.deepEqual(Object.keys(lines).toSorted(), ["gateway", "notes"]);
      const traceId = String(lines["gateway"]!["trace_id"]);
      assert.match(traceId, /^[0-9a-f]{32}$/);
      assert.equal(lines["notes"]!["trace_id"], traceId);

      const spans = await traceOf(traceId, 4);
      const door = only(spans, "gateway", "server");
      const call = only(spans, "gateway", "client");
      const service = only(spans, "notes", "server");
      const statement = only(spans, "notes", "client");
      assert.deepEqual(
        [door, call, service, statement].map(({ parentSpanId }) => parentSpanId),
        ["", door.spanId, call.spanId, service.spanId],
      );
      assert.equal(spans.length, 4);
      assert.deepEqual([lines["gateway"]!["span_id"], lines["notes"]!["span_id"]], [door.spanId, service.spanId]);
      assert.equal(service.name, name);
      assert.equal(statement.attributes["db.operation.name"], operation);
      assert.equal(statement.attributes["db.system.name"], "postgresql");
      assert.doesNotMatch(JSON.stringify(statement.attributes), /traced|tracy/, "no value of a statement is exported");
      assert.deepEqual(
        spans.filter(({ failed }) => failed),
        [],
      );
    });
  }

  it("of GET /notes/digest goes from HTTP over a span of the user's to gRPC in a third process, and to SQL", async () => {
    const answer = await ask(`${platform.url}/notes/digest`, { token });
    assert.equal(answer.status, 200, answer.text);
    assert.equal((answer.json() as { greeting: string }).greeting, "Hello, tracy");
    const { gateway } = await accessLines(answer);
    const spans = await traceOf(String(gateway!["trace_id"]), 7);
    const own = spans.filter(({ service }) => service === "notes");
    const [request, digest, call, statement] = [
      "GET /notes/digest",
      "make digest",
      "plinth.examples.greeter.v1.GreeterService/Greet",
      "SELECT note",
    ].map((name) => own.find((span) => span.name === name));
    const greeted = only(spans, "greeter", "server");
    assert.deepEqual(
      [request, digest, call, statement, greeted].map((span) => span?.parentSpanId),
      [only(spans, "gateway", "client").spanId, request?.spanId, digest?.spanId, digest?.spanId, call?.spanId],
      JSON.stringify(spans, undefined, 1),
    );
    assert.equal(greeted.name, call?.name);
    assert.equal(
      spans.length,
      7,
      spans.map((s) => `${s.service} ${s.kind} ${s.name} ${s.spanId} < ${s.parentSpanId}`).join("\n"),
    );
    const calls = () => platform.log().filter((line) => line["message"] === "call");
    await until(() => calls().length > 0, "a line of the call", 30_000);
    assert.deepEqual(
      [calls()[0]!["service"], calls()[0]!["trace_id"], calls()[0]!["request_id"]],
      ["greeter", gateway!["trace_id"], gateway!["request_id"]],
    );
  });

  it("of a refused request ends at the gateway, and its reply names it", async () => {
    const answer = await ask(`${platform.url}/notes`);
    assert.equal(answer.status, 401);
    const { traceId } = answer.json() as { traceId: string };
    const door = await collector.waitFor((span) => span.traceId === traceId);
    assert.deepEqual([door.service, kinds[door.kind], door.parentSpanId], ["gateway", "server", ""]);
    assert.equal(collector.spans.filter((span) => span.traceId === traceId).length, 1);
  });

  it("begins at the gateway, whatever a stranger says about traces, and is linked to the stranger's", async () => {
    const traceId = crypto.randomUUID().replaceAll("-", "");
    const headers = { traceparent: `00-${traceId}-00f067aa0ba902b7-00` };
    const answer = await ask(`${platform.url}/hello/ada`, { headers });
    assert.equal(answer.status, 200);
    const lines = await accessLines(answer);
    const ownId = String(lines["gateway"]!["trace_id"]);
    assert.notEqual(ownId, traceId);
    const greeter = await collector.waitFor((span) => span.service === "greeter" && span.traceId === ownId);
    assert.equal(greeter.name, "GET /hello/:name");
    assert.ok(!collector.spans.some((span) => span.traceId === traceId));
    const door = await collector.waitFor((span) => span.traceId === ownId && span.parentSpanId === "");
    assert.deepEqual(door.links, [{ traceId, spanId: "00f067aa0ba902b7" }]);
  });
});
