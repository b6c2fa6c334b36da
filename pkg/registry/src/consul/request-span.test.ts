import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createTracing, randomHex, type Span, type StartSpanOptions, type Tracing } from "@plinth/kernel";
import { ScriptedAgent } from "../testing/index.ts";
import { createConsulClient } from "./client.ts";
import { createConsulRegistry } from "./consul-registry.ts";

interface Seen {
  readonly name: string;
  readonly kind: StartSpanOptions["kind"];
  readonly attributes: Record<string, unknown>;
  failure: unknown;
  ends: number;
}

/** Keeps all spans. */
function recorder(): { readonly tracing: Tracing; readonly spans: Seen[] } {
  const spans: Seen[] = [];
  const startSpan = (name: string, options: StartSpanOptions = {}): Span => {
    const seen: Seen = { name, kind: options.kind, attributes: {}, failure: undefined, ends: 0 };
    spans.push(seen);
    return {
      traceId: randomHex(16),
      spanId: randomHex(8),
      sampled: true,
      setAttribute: (key, value) => void (seen.attributes[key] = value),
      setAttributes: (attributes) => void Object.assign(seen.attributes, attributes),
      rename: () => {},
      fail: (error) => void (seen.failure = error),
      setFailed: (type) => void (seen.failure = type),
      end: () => void seen.ends++,
    };
  };
  return { tracing: { ...createTracing(), startSpan }, spans };
}

const instance = { service: "notes", id: "notes-1", host: "127.0.0.1", ports: { http: 3_000 } };

describe("spans of requests to Consul", () => {
  it(
    "are made of registering, changing, looking up and deregistering, and not of heartbeats and watches",
    { timeout: 20_000 },
    async () => {
      await using agent = await ScriptedAgent.start(({ path, query }) => {
        if (!path.startsWith("/v1/health")) return {};
        return query.has("index") ? "hang" : { index: 5, body: [] };
      });
      const { tracing, spans } = recorder();
      const own = createConsulRegistry({ address: agent.address, ttlMs: 100, tracing });
      const registration = await own.register(instance);
      await own.resolve("users");
      await registration.update({ weight: 2 });
      await registration.maintenance("upgrade");
      await agent.received(({ path }) => path.includes("/check/update/"));
      await registration.deregister();
      await own.close();
      assert.deepEqual([...new Set(spans.map(({ name, kind }) => `${kind} ${name}`))].toSorted(), [
        "client consul deregister",
        "client consul instances",
        "client consul maintenance",
        "client consul register",
        "client consul update",
      ]);
      assert.ok(spans.every(({ ends }) => ends === 1));
      const [register] = spans;
      assert.deepEqual(register?.attributes, {
        "server.address": "127.0.0.1",
        "server.port": Number(new URL(agent.address).port),
        "http.request.method": "PUT",
        "url.full": `${agent.address}/v1/agent/service/register`,
        "plinth.operation": "register",
        "http.response.status_code": 200,
      });
      assert.ok(agent.requests.every(({ headers }) => headers.traceparent === undefined));
    },
  );

  it("fail with the request", async () => {
    await using agent = await ScriptedAgent.start(() => ({ status: 403, body: "no" }));
    const { tracing, spans } = recorder();
    const own = createConsulRegistry({ address: agent.address, tracing });
    await assert.rejects(own.resolve("users"), { code: "ERR_REGISTRY_DENIED" });
    await own.close();
    assert.equal(Reflect.get(Object(spans[0]?.failure), "code"), "ERR_REGISTRY_DENIED");
  });

  it("name the socket where there is no host", async () => {
    const { tracing, spans } = recorder();
    const consul = createConsulClient({ address: "unix:///nowhere/consul.sock", tracing, environment: {} });
    await assert.rejects(consul.self(), { code: "ERR_REGISTRY_UNAVAILABLE" });
    await consul.close();
    assert.equal(spans[0]?.name, "consul agent");
    assert.deepEqual(
      [spans[0].attributes["server.address"], "server.port" in spans[0].attributes],
      ["/nowhere/consul.sock", false],
    );
  });
});
