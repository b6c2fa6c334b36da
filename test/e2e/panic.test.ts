// A handler throws: its caller learns nothing of the inside, the operators learn everything once, and the service lives.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { callGrpc, messageWithText } from "../support/grpc.ts";
import { ask, seriesOf } from "../support/http.ts";
import { logOf } from "../support/platform.ts";
import { type Program, startProgram, userEnvironment } from "../support/program.ts";
import { until } from "../support/until.ts";

const root = join(import.meta.dirname, "../..");
const greet = "/plinth.examples.greeter.v1.GreeterService/Greet";
const internal = 13;

let service: Program;
let http: string;
let grpc: string;

/** Lines of stdout that have `key`. */
const lines = (key: string) => logOf(service.stdout()).filter((line) => key in line);

before(async () => {
  const program = join(root, "test/programs/panicking-service.ts");
  const environment = userEnvironment();
  service = await startProgram(process.execPath, ["--conditions=plinth-source", program], {
    folder: root,
    environment,
  });
  await service.untilPrinted('"grpc"', 30_000);
  [{ http, grpc }] = lines("grpc") as [{ http: string; grpc: string }];
});
after(() => service[Symbol.asyncDispose]());

/** Once it is known to the bus and the log: both are told after the reply. */
async function untilReported(
  traceId: string,
): Promise<{ report: Record<string, unknown>; logged: Record<string, unknown> }> {
  const reports = () => lines("reported").filter((line) => line["traceId"] === traceId);
  const logged = () => lines("trace_id").filter((line) => line["trace_id"] === traceId && line["level"] === "error");
  await until(() => reports().length > 0 && logged().length > 0, `trace ${traceId} in reports and log`, 30_000);
  const all = [reports(), logged()];
  assert.deepEqual(
    all.map(({ length }) => length),
    [1, 1],
    `one report and one error line, not ${JSON.stringify(all)}`,
  );
  return { report: reports()[0]!, logged: logged()[0]! };
}

/** A trace that the caller has begun, so that everybody's part of it can be found. */
function newTrace(): { traceId: string; headers: Record<string, string> } {
  const traceId = crypto.randomUUID().replaceAll("-", "");
  return { traceId, headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01`, "x-request-id": `test-${traceId}` } };
}

describe("a handler that throws", () => {
  for (const [path, message] of [
    ["/throws", "sync password=hunter2"],
    ["/rejects", "late password=hunter2"],
    ["/throws-text", "text password=hunter2"],
    ["/fails", "typed password=hunter2"],
  ] as const) {
    it(`of HTTP, GET ${path}, is a 500 problem without internals, reported and logged once under its trace`, async () => {
      const { traceId, headers } = newTrace();
      const answer = await ask(`${http}${path}`, { headers });
      assert.equal(answer.status, 500);
      assert.equal(answer.headers.get("content-type"), "application/problem+json");
      const { detail, ...problem } = answer.json() as Record<string, unknown>;
      assert.deepEqual(problem, {
        type: "about:blank",
        title: "Internal Server Error",
        status: 500,
        code: "ERR_INTERNAL",
        traceId,
      });
      assert.equal(typeof detail, "string");
      assert.doesNotMatch(answer.text + JSON.stringify([...answer.headers]), /hunter2|secret|\.ts|TypeError|SAMPLE/);

      const { report, logged } = await untilReported(traceId);
      assert.match(String(report["reported"]), new RegExp(message));
      assert.equal(report["origin"], "request");
      assert.equal(report["requestId"], `test-${traceId}`);
      assert.match(String(logged["message"]), new RegExp(message));
      assert.equal(logged["request_id"], `test-${traceId}`);
      assert.match(
        JSON.stringify(logged["error"]),
        /panicking-service\.ts|text password/,
        "with its stack, where it has one",
      );
    });
  }

  it("in a stream that was begun breaks the reply off, reported and logged once under its trace", async () => {
    const { traceId, headers } = newTrace();
    await assert.rejects(ask(`${http}/streams`, { headers }), "part of it must not look like the whole");
    const { report } = await untilReported(traceId);
    assert.match(String(report["reported"]), /stream password=hunter2/);
    assert.deepEqual([report["origin"], report["handled"]], ["stream", true]);
  });

  it("in a listener for its request is a 500 without internals, reported and logged once under its trace", async () => {
    const { traceId, headers } = newTrace();
    const answer = await ask(`${http}/listens`, {
      method: "POST",
      body: "x",
      headers: { ...headers, "content-type": "text/plain" },
    });
    assert.equal(answer.status, 500);
    assert.doesNotMatch(answer.text, /hunter2|TypeError/);
    const { report } = await untilReported(traceId);
    assert.match(String(report["reported"]), /listener password=hunter2/);
  });

  it("of gRPC is INTERNAL without internals, reported and logged once under its trace", async () => {
    const { traceId, headers } = newTrace();
    const answer = await callGrpc(grpc, greet, messageWithText("grpc"), headers);
    assert.equal(answer.status, internal);
    const details = Buffer.from(answer.metadata["grpc-status-details-bin"] ?? "", "base64").toString("latin1");
    assert.doesNotMatch(`${JSON.stringify(answer.metadata)} ${answer.message} ${details}`, /hunter2|secret|TypeError/);
    const { report } = await untilReported(traceId);
    assert.match(String(report["reported"]), /rpc grpc password=hunter2/);
    assert.equal(report["origin"], "rpc");
  });

  it("of RPC over HTTP is `internal` without internals, reported and logged once under its trace", async () => {
    const { traceId, headers } = newTrace();
    const answer = await ask(`${http}${greet}`, { body: { name: "json" }, headers });
    assert.equal(answer.status, 500);
    assert.equal((answer.json() as Record<string, unknown>)["code"], "internal");
    assert.doesNotMatch(answer.text + JSON.stringify([...answer.headers]), /hunter2|secret|TypeError/);
    const { report } = await untilReported(traceId);
    assert.match(String(report["reported"]), /rpc json password=hunter2/);
  });

  it("is counted by /metrics under its route and method, and as an error of its origin", async () => {
    const before = (await ask(`${http}/metrics`)).text;
    await ask(`${http}/throws`);
    await ask(`${http}${greet}`, { body: { name: "counted" } });
    await callGrpc(grpc, greet, messageWithText("counted"));
    const count = (text: string) => ({
      http: seriesOf(text, "http_server_request_duration_seconds_count", { route: "/throws", status: "500" }),
      rpc: seriesOf(text, "http_server_request_duration_seconds_count", { route: greet, status: "500" }),
      grpc: seriesOf(text, "grpc_server_call_duration_seconds_count", { method: greet.slice(1), status: "internal" }),
      errors: seriesOf(text, "errors_total", { code: "ERR_INTERNAL" }),
    });
    const earlier = count(before);
    const expected = {
      http: earlier.http + 1,
      rpc: earlier.rpc + 1,
      grpc: earlier.grpc + 1,
      errors: earlier.errors + 3,
    };
    let now = earlier;
    await until(
      async () => {
        now = count((await ask(`${http}/metrics`)).text);
        return now.errors >= expected.errors && now.grpc >= expected.grpc;
      },
      () => `counted ${JSON.stringify(now)}`,
      30_000,
    );
    assert.deepEqual(now, expected);
  });

  it("leaves the process alive, ready and at work, and it still stops in order", async () => {
    const works = await ask(`${http}/works`);
    assert.deepEqual(works.json(), { ok: true });
    assert.equal((await callGrpc(grpc, greet, messageWithText("works"))).status, 0);
    assert.equal((await ask(`${http}/healthz`)).status, 200);
    assert.equal((await ask(`${http}/ready`)).status, 200);
    service.signal("SIGTERM");
    assert.deepEqual(await service.exit, { code: 0, signal: null });
    assert.equal(service.stderr(), "");
  });
});
