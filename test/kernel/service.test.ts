// What a main of about ten lines is given by the modules: all of it as a program, with a database, a Consul and a collector.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type Collector, startCollector } from "@plinth/telemetry/testing";
import { type ConsulAgent, findFreePorts, startConsul } from "../../scripts/servers/index.ts";
import { instancesIn } from "../support/consul.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { callGrpc, messageWithText } from "../support/grpc.ts";
import { ask, seriesOf } from "../support/http.ts";
import { occupyPort, untilFree } from "../support/ports.ts";
import type { Program } from "../support/program.ts";
import { until } from "../support/until.ts";
import { limitMs, loggedBy, start } from "./program.ts";

const main = join(import.meta.dirname, "../programs/whole-service.ts");

let collector: Collector;
let consul: ConsulAgent;
let database: TestDatabase;
let ports: { readonly http: number; readonly grpc: number; readonly ops: number };

before(async () => {
  [collector, consul, database] = await Promise.all([startCollector(), startConsul(), createTestDatabase()]);
});
after(async () => {
  await database?.[Symbol.asyncDispose]();
  await consul?.stop();
  await collector?.close();
});

async function startService(environment: Readonly<Record<string, string>> = {}): Promise<Program> {
  const [http = 0, grpc = 0, ops = 0] = await findFreePorts(3);
  ports = { http, grpc, ops };
  return start(main, [], {
    PLINTH_CONSUL_ADDR: consul.address,
    PLINTH_DATABASE_URL: database.url,
    PLINTH_HTTP_PORT: `${http}`,
    PLINTH_GRPC_PORT: `${grpc}`,
    PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "0",
    PLINTH_TELEMETRY_EXPORT_INTERVAL_MS: "50",
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    ...environment,
  });
}

const http = (path: string) => ask(`http://127.0.0.1:${ports.http}${path}`);
const ops = (path: string) => ask(`http://127.0.0.1:${ports.ops}${path}`);
const registered = async () => (await instancesIn(consul.address)).filter(({ service }) => service === "service");
const messages = (program: Program) => loggedBy(program.stdout()).map(({ message }) => message);

/** Whether anybody accepts a connection there. */
function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

describe("a main of about ten lines", () => {
  let service: Program;
  before(async () => {
    service = await startService({ PLINTH_GREETING_WORD: "Good day" });
    await service.untilPrinted("app ready", limitMs);
  });
  after(() => service?.[Symbol.asyncDispose]());

  it("is one", () => {
    const lines = readFileSync(main, "utf8").split("\n");
    assert.ok(lines.filter((line) => line !== "" && !line.startsWith("//")).length <= 12);
  });

  it("serves HTTP, from a database, with what the config says", async () => {
    assert.deepEqual((await http("/hello")).json(), { message: "Good day, Ada" });
  });

  it("serves gRPC, and the same call as JSON", async () => {
    const greet = "/plinth.examples.greeter.v1.GreeterService/Greet";
    const answer = await callGrpc(`127.0.0.1:${ports.grpc}`, greet, messageWithText("Bob"));
    assert.equal(answer.status, 0);
    assert.match(answer.body.toString(), /Good day, Bob/);
    const json = await ask(`http://127.0.0.1:${ports.http}${greet}`, { body: { name: "Eve" } });
    assert.deepEqual(json.json(), { message: "Good day, Eve" });
  });

  it("has the three endpoints", async () => {
    assert.equal((await http("/healthz")).status, 200);
    assert.equal((await http("/ready")).status, 200);
    const { text } = await http("/metrics");
    assert.ok(seriesOf(text, "http_server_request_duration_seconds_count", { route: "/hello" }) >= 1);
  });

  it("is registered with its port, and passing", async () => {
    await until(async () => (await registered()).some(({ isPassing }) => isPassing), "it passes", limitMs);
    assert.ok((await registered()).some(({ port }) => port === ports.http));
  });

  it("traces a request down to the statement, with the trace's id in its log lines and in no other", async () => {
    const traceId = crypto.randomUUID().replaceAll("-", "");
    const headers = { traceparent: `00-${traceId}-00f067aa0ba902b7-01` };
    await ask(`http://127.0.0.1:${ports.http}/hello`, { headers });
    const own = await collector.waitFor((span) => span.traceId === traceId && span.name.includes("/hello"));
    assert.equal(own.parentSpanId, "00f067aa0ba902b7");
    const statement = await collector.waitFor((span) => span.traceId === traceId && span.parentSpanId === own.spanId);
    assert.equal(statement.service, "service");
    const lines = () => loggedBy(service.stdout());
    const greeted = () => lines().filter(({ message, trace_id }) => message === "greeted" && trace_id === traceId);
    await until(() => greeted().length > 0, "the line of the request", limitMs);
    assert.equal(greeted().length, 1);
    assert.ok(
      lines()
        .filter(({ message }) => message === "app ready")
        .every((line) => !("trace_id" in line)),
    );
  });

  it("leaves the registry and stops in order at SIGTERM, every server closed", async () => {
    service.signal("SIGTERM");
    assert.deepEqual(await service.exit, { code: 0, signal: null }, service.stderr());
    assert.equal(service.stderr(), "");
    const order = ["app draining", "deregistered", "app stopping", "app stopped"];
    assert.deepEqual(
      messages(service).filter((message) => order.includes(String(message))),
      order,
    );
    assert.deepEqual(await registered(), []);
    await untilFree([ports.http, ports.grpc], limitMs);
  });
});

describe("before a service is ready for the first time", () => {
  it("its ops port alone is open: /healthz 200, /ready 503, not registered; then all of it", async () => {
    const [opsPort = 0] = await findFreePorts(1);
    await using service = await startService({ PLINTH_OPS_PORT: `${opsPort}`, PLINTH_GREETING_GATED: "true" });
    ports = { ...ports, ops: opsPort };
    await until(() => isOpen(opsPort), "the ops port is open", limitMs);
    assert.equal((await ops("/healthz")).status, 200);
    assert.equal((await ops("/ready")).status, 503);
    assert.equal((await ops("/metrics")).status, 200);
    await service.untilPrinted("the gate is closed", limitMs);
    assert.deepEqual([await isOpen(ports.http), await isOpen(ports.grpc)], [false, false]);
    assert.deepEqual(await registered(), []);
    service.signal("SIGUSR2");
    await until(
      async () => (await ops("/ready")).status === 200,
      () => `it is ready; it wrote ${service.stdout()}${service.stderr()}`,
      limitMs,
    );
    assert.deepEqual([await isOpen(ports.http), await isOpen(ports.grpc)], [true, true]);
    await until(async () => (await registered()).length === 1, "it is registered", limitMs);
    service.signal("SIGTERM");
    assert.equal((await service.exit).code, 0, service.stderr());
  });

  it("a signal ends it too: nothing was ever registered, and exit code 0", async () => {
    const [opsPort = 0] = await findFreePorts(1);
    await using service = await startService({ PLINTH_OPS_PORT: `${opsPort}`, PLINTH_GREETING_GATED: "true" });
    await service.untilPrinted("the gate is closed", limitMs);
    service.signal("SIGTERM");
    assert.equal((await service.exit).code, 0, service.stderr());
    assert.deepEqual(await registered(), []);
  });
});

describe("a busy port", () => {
  for (const server of ["http", "grpc"] as const) {
    it(`of ${server} fails the start with port and address; the other servers are stopped, and nothing is registered`, async () => {
      const [port = 0] = await findFreePorts(1);
      await using _taken = await occupyPort(port);
      const variable = `PLINTH_${server.toUpperCase()}_PORT`;
      await using service = await startService({ [variable]: `${port}` });
      assert.deepEqual(await service.exit, { code: 1, signal: null });
      assert.match(
        service.stderr(),
        new RegExp(
          `^service did not start: start of "${server}.*port ${port} on 127\\.0\\.0\\.1 is in use by another process; stop that, or set ${variable} to a free port$`,
          "m",
        ),
      );
      assert.deepEqual(await registered(), []);
      assert.equal(await isOpen(server === "http" ? ports.grpc : ports.http), false);
    });
  }
});
