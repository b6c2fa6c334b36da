// The spans of all seams as a collector gets them: names, kinds, statuses and attributes by the stable semantic conventions.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, before, describe, it } from "node:test";
import { database, databaseModule, sql } from "@plinth/database";
import { AppError, coreModule, defineModule, metrics, provider, tracing } from "@plinth/kernel";
import { testApp } from "@plinth/kernel/testing";
import { registry, registryModule } from "@plinth/registry";
import { telemetryModule } from "@plinth/telemetry";
import { type CollectedSpan, type Collector, startCollector } from "@plinth/telemetry/testing";
import {
  createGrpcChannel,
  createRpcClient,
  grpcModule,
  httpModule,
  httpRoutes,
  instrumentFetch,
  rpcService,
  rpcServices,
} from "@plinth/transport";
import { GreeterService } from "../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";
import { type ConsulAgent, findFreePorts, startConsul } from "../../scripts/servers/index.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { ask } from "../support/http.ts";
import { until } from "../support/until.ts";

const kinds: Readonly<Record<number, string>> = { 1: "internal", 2: "server", 3: "client" };
const method = "plinth.examples.greeter.v1.GreeterService/Greet";

/** Names of stable attributes, as the package of the conventions has them that the instrumentations stand on. */
function stableNames(): ReadonlySet<unknown> {
  const own = createRequire(createRequire(import.meta.url).resolve("@opentelemetry/instrumentation-http"));
  const conventions: unknown = own("@opentelemetry/semantic-conventions");
  assert.ok(typeof conventions === "object" && conventions !== null);
  return new Set(
    Object.entries(conventions)
      .filter(([constant]) => constant.startsWith("ATTR_"))
      .map(([, name]) => name),
  );
}

const provideRpc = provider({
  provides: rpcServices,
  needs: { db: database },
  create: ({ db }) =>
    rpcService(GreeterService, {
      greet: async ({ name }) => {
        if (name === "nobody") throw new AppError("ERR_NOBODY", "not_found", "nobody has that name");
        if (name === "broken") throw new AppError("ERR_BROKEN", "data_loss", "the names are gone");
        if (name === "missing") await db.query(sql`select word from missing where word = ${name}`);
        await db.query(sql`select ${name}::text as word`);
        return { message: `Hello, ${name}` };
      },
    }),
});

const ports = await findFreePorts(3);
const [httpPort = 0, grpcPort = 0, deadPort = 0] = ports;

const provideRoutes = provider({
  provides: httpRoutes,
  needs: { metrics, tracing, registry },
  create: async ({ metrics: own, tracing: spans, registry: names }) => {
    const channel = await createGrpcChannel({ peer: "greeter", address: `127.0.0.1:${grpcPort}`, metrics: own });
    const greeter = createRpcClient(GreeterService, { channel, timeoutMs: 20_000 });
    const fetch = instrumentFetch({ peer: "self", metrics: own });
    return (app) => {
      app.get<{ Params: { name: string } }>("/greet/:name", ({ params }) => greeter.greet(params));
      app.get("/asks", async () => (await fetch(`http://127.0.0.1:${httpPort}/plain?key=s3cret`)).text());
      app.get("/asks/dead", async () => (await fetch(`http://127.0.0.1:${deadPort}/`)).text());
      app.get("/plain", () => "x");
      app.get("/throws", () => {
        throw new Error("broken inside");
      });
      app.get("/resolve", async () => ({ count: (await names.resolve("nobody")).instances.length }));
      app.get("/batch", () => {
        const parts = [1, 2].map(() => spans.startSpan("part", { parent: null }));
        for (const part of parts) part.end();
        return spans.withSpan("batch", { "batch.size": 2 }, () => "x", {
          kind: "consumer",
          links: parts.map((span) => ({ span })),
        });
      });
    };
  },
});

let collector: Collector;
let consul: ConsulAgent;
let testDatabase: TestDatabase;
let app: Awaited<ReturnType<typeof start>>;
const url = `http://127.0.0.1:${httpPort}`;

const start = (telemetry: Record<string, unknown> = {}, http: Record<string, unknown> = {}) =>
  testApp({
    name: "spans",
    version: "1.2.3",
    modules: [
      coreModule,
      telemetryModule,
      databaseModule,
      registryModule,
      httpModule,
      grpcModule,
      defineModule("spans", [provideRpc, provideRoutes]),
    ],
    config: {
      environment: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url },
      defaults: {
        telemetry: { exportIntervalMs: 20, ...telemetry },
        http: { host: "127.0.0.1", port: httpPort, ...http },
        grpc: { host: "127.0.0.1", port: grpcPort },
        database: { url: testDatabase.url },
        consul: { addr: consul.address },
      },
    },
  });

before(async () => {
  [collector, consul, testDatabase] = await Promise.all([startCollector(), startConsul(), createTestDatabase()]);
  app = await start();
});
after(async () => {
  await app?.stop();
  await testDatabase?.[Symbol.asyncDispose]();
  await consul?.stop();
  await collector?.close();
});

/** The spans of one request from the outermost inwards, each below the one before. */
async function chain(path: string, length: number): Promise<readonly CollectedSpan[]> {
  const traceId = crypto.randomUUID().replaceAll("-", "");
  const parent = "b".repeat(16);
  await ask(`${url}${path}`, { headers: { traceparent: `00-${traceId}-${parent}-01`, "user-agent": "curl/8" } });
  const seen = () => collector.spans.filter((span) => span.traceId === traceId);
  await until(
    () => seen().length >= length,
    () => `${length} spans of ${path}, not ${JSON.stringify(seen(), undefined, 1)}`,
    20_000,
  );
  const found: CollectedSpan[] = [];
  for (let above = parent; found.length < seen().length; above = found.at(-1)?.spanId ?? "") {
    const [next, ...others] = seen().filter(({ parentSpanId }) => parentSpanId === above);
    assert.deepEqual(others, [], path);
    assert.ok(next, `a chain in ${JSON.stringify(seen(), undefined, 1)}`);
    found.push(next);
  }
  assert.equal(found.length, length);
  return found;
}

/** A span in one line each for what it is, and its attributes. */
const shown = ({ name, kind, failed, attributes }: CollectedSpan) => ({
  span: `${kinds[kind]} ${name}${failed ? " failed" : ""}`,
  ...attributes,
});

const httpServer = (route: string, status: number, rest: object = {}) => ({
  span: `server GET ${route}${status >= 500 ? " failed" : ""}`,
  "http.request.method": "GET",
  "http.route": route,
  "http.response.status_code": status,
  "url.scheme": "http",
  "server.address": "127.0.0.1",
  "server.port": httpPort,
  "client.address": "127.0.0.1",
  "network.protocol.version": "1.1",
  ...rest,
});
const rpc = { "rpc.system.name": "grpc", "rpc.method": method };
const grpcClient = (code: string) => ({
  span: `client ${method}${code === "OK" ? "" : " failed"}`,
  ...rpc,
  "rpc.status_code": code,
  "server.address": "127.0.0.1",
  "server.port": grpcPort,
  "plinth.peer": "greeter",
  ...(code === "OK" ? {} : { "error.type": code }),
});
const grpcServer = (code: string, error?: string) => ({
  span: `server ${method}${error === undefined ? "" : " failed"}`,
  ...rpc,
  "rpc.status_code": code,
  "client.address": "127.0.0.1",
  ...(error === undefined ? {} : { "error.type": error }),
});
const statement = (rest: object) => {
  const { hostname, port, pathname } = new URL(testDatabase.url);
  return {
    "db.system.name": "postgresql",
    "db.namespace": `${pathname.slice(1)}|spans`,
    "db.operation.name": "SELECT",
    "server.address": hostname,
    ...(port === "5432" ? {} : { "server.port": Number(port) }),
    ...rest,
  };
};

const agent = { "user_agent.original": "curl/8" };
const table: Readonly<Record<string, () => readonly object[]>> = {
  "/greet/ada": () => [
    httpServer("/greet/:name", 200, { "url.path": "/greet/ada", ...agent }),
    grpcClient("OK"),
    grpcServer("OK"),
    statement({ span: "client SELECT", "db.query.summary": "SELECT", "db.query.text": "select $1::text as word" }),
  ],
  "/greet/nobody": () => [
    httpServer("/greet/:name", 404, { "url.path": "/greet/nobody", ...agent }),
    grpcClient("NOT_FOUND"),
    grpcServer("NOT_FOUND"),
  ],
  "/greet/broken": () => [
    httpServer("/greet/:name", 500, { "url.path": "/greet/broken", ...agent, "error.type": "ERR_INTERNAL" }),
    grpcClient("DATA_LOSS"),
    grpcServer("DATA_LOSS", "ERR_BROKEN"),
  ],
  "/greet/missing": () => [
    httpServer("/greet/:name", 500, { "url.path": "/greet/missing", ...agent, "error.type": "ERR_INTERNAL" }),
    grpcClient("INTERNAL"),
    grpcServer("INTERNAL", "ERR_DATABASE_QUERY"),
    statement({
      span: "client SELECT missing failed",
      "db.collection.name": "missing",
      "db.query.summary": "SELECT missing",
      "db.query.text": "select word from missing where word = $1",
      "db.response.status_code": "42P01",
      "error.type": "42P01",
    }),
  ],
  "/asks": () => [
    httpServer("/asks", 200, { "url.path": "/asks", ...agent }),
    {
      span: "client GET",
      "http.request.method": "GET",
      "http.response.status_code": 200,
      "server.address": "127.0.0.1",
      "server.port": httpPort,
      "url.full": `${url}/plain`,
      "plinth.peer": "self",
    },
    httpServer("/plain", 200, { "url.path": "/plain", "user_agent.original": "node" }),
  ],
  "/asks/dead": () => [
    httpServer("/asks/dead", 503, { "url.path": "/asks/dead", ...agent, "error.type": "ERR_CONNECTION_FAILED" }),
    {
      span: "client GET failed",
      "http.request.method": "GET",
      "server.address": "127.0.0.1",
      "server.port": deadPort,
      "url.full": `http://127.0.0.1:${deadPort}/`,
      "plinth.peer": "self",
      "error.type": "unreachable",
    },
  ],
  "/throws": () => [httpServer("/throws", 500, { "url.path": "/throws", ...agent, "error.type": "ERR_INTERNAL" })],
  "/resolve": () => {
    const { hostname, port } = new URL(consul.address);
    return [
      httpServer("/resolve", 200, { "url.path": "/resolve", ...agent }),
      {
        span: "client consul instances",
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": hostname,
        "server.port": Number(port),
        "url.full": `${consul.address}/v1/health/service/nobody`,
        "plinth.operation": "instances",
      },
    ];
  },
};

describe("the spans that a collector gets", { timeout: 120_000 }, () => {
  for (const [path, expected] of Object.entries(table)) {
    it(`of GET ${path}`, async () => {
      const rows = expected();
      const spans = await chain(path, rows.length);
      assert.deepEqual(spans.map(shown), rows);
    });
  }

  it("have no attribute that the stable conventions do not name, but for those of Plinth and of the user", () => {
    const stable = stableNames();
    const names = new Set(collector.spans.flatMap(({ attributes }) => Object.keys(attributes)));
    assert.ok(names.size > 15);
    const strange = [...names].filter((name) => !stable.has(name) && !/^(plinth|batch)\./.test(name));
    assert.deepEqual(strange, []);
  });

  it("tell of an error once, as an exception where it was thrown, with its text for operators", async () => {
    const [span] = await chain("/throws", 1);
    const [event, ...others] = span?.events ?? [];
    assert.deepEqual(others, []);
    assert.equal(event?.name, "exception");
    assert.deepEqual(
      [event.attributes["exception.type"], event.attributes["exception.message"]],
      ["Error", "broken inside"],
    );
    const stable = stableNames();
    assert.deepEqual(
      Object.keys(event.attributes).filter((name) => !stable.has(name)),
      [],
    );
  });

  it("link those of a batch", async () => {
    await ask(`${url}/batch`);
    const batch = await collector.waitFor(({ name }) => name === "batch");
    const parts = collector.spans.filter(({ name }) => name === "part");
    assert.equal(parts.length, 2);
    assert.deepEqual(batch.links.map(({ spanId }) => spanId).toSorted(), parts.map(({ spanId }) => spanId).toSorted());
  });

  it("hold no value of a statement and no query of a URL", () => {
    assert.doesNotMatch(JSON.stringify(collector.spans), /s3cret/);
  });
});

describe("a stranger that chooses the ids of traces, and says that all are sampled", { timeout: 60_000 }, () => {
  it("has no say in what is recorded, and is linked to", async () => {
    await app.stop();
    app = await start({ sampleRatio: 0.5 }, { trustedPeers: [] });
    const before = collector.spans.length;
    const asked = 200;
    // recorded at any ratio above 0 by an id alone
    const [traceId, spanId] = ["f".repeat(32), "b".repeat(16)];
    for (let count = 0; count < asked; count++) {
      await ask(`${url}/plain`, { headers: { traceparent: `00-${traceId}-${spanId}-01` } });
    }
    await app.stop();
    const spans = collector.spans.slice(before).filter(({ name }) => name === "GET /plain");
    assert.ok(spans.length > asked / 4 && spans.length < (asked * 3) / 4, `${spans.length} of ${asked} are recorded`);
    assert.equal(new Set(spans.map((span) => span.traceId)).size, spans.length);
    assert.ok(spans.every((span) => span.parentSpanId === "" && span.traceId !== traceId));
    assert.ok(spans.every(({ links }) => links.length === 1 && links[0]?.traceId === traceId));
  });
});
