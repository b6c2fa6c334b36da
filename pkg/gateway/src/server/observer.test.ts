import assert from "node:assert/strict";
import { type ClientRequest, type OutgoingHttpHeaders, request } from "node:http";
import { text } from "node:stream/consumers";
import { once } from "node:events";
import { describe, it } from "node:test";
import {
  createLogger,
  parseTraceparent,
  randomHex,
  type Span,
  type StartSpanOptions,
  type Tracing,
} from "@plinth/kernel";
import { MemoryLog, until } from "@plinth/kernel/testing";
import { echo, httpInstance, openRoute, type Received, sayOnce, socketInstance, startGateway } from "../testing/kit.ts";

interface Recorded extends Span {
  name: string;
  readonly options: StartSpanOptions;
  readonly attributes: Record<string, unknown>;
  readonly failures: unknown[];
  ended: number;
}

/** Keeps every span, all of them sampled. */
function recordingTracing(): Tracing & { readonly spans: Recorded[] } {
  const spans: Recorded[] = [];
  return {
    spans,
    startSpan(name, options = {}) {
      const attributes: Record<string, unknown> = { ...options.attributes };
      const failures: unknown[] = [];
      const span: Recorded = {
        name,
        options,
        attributes,
        failures,
        ended: 0,
        traceId: options.parent && options.parent.isTrusted !== false ? options.parent.traceId : randomHex(16),
        spanId: randomHex(8),
        sampled: true,
        setAttribute: (key, value) => void (attributes[key] = value),
        setAttributes: (given) => void Object.assign(attributes, given),
        rename: (better) => void (span.name = better),
        fail: (error) => void failures.push(error),
        setFailed: (type) => void failures.push(type),
        end: () => void span.ended++,
      };
      spans.push(span);
      return span;
    },
    withSpan: async (name, attributes, fn) => fn(recordingTracing().startSpan(name, { attributes })),
  };
}

async function textOf(asking: ClientRequest): Promise<string> {
  const [response] = await once(asking.end(), "response");
  return text(response);
}

describe("spans", () => {
  it("are one for the client's request, by the route's template, and one below it for each try at an instance", async () => {
    const tracing = recordingTracing();
    await using instance = await httpInstance(echo);
    await using running = await startGateway({ routes: [openRoute({ match: { path: "/notes/:id" } })], tracing });
    await running.add(instance);
    const received = (await (await fetch(`${running.url}/notes/42?secret=1`)).json()) as Received;
    await running.lastLine();
    const [server, client] = tracing.spans;
    assert.ok(server && client);
    assert.equal(tracing.spans.length, 2);
    assert.deepEqual(
      [server.name, server.options.kind, server.options.parent, server.ended],
      ["GET /notes/:id", "server", null, 1],
    );
    assert.deepEqual(server.attributes, {
      "http.route": "/notes/:id",
      "http.request.method": "GET",
      "http.response.status_code": 200,
      "url.scheme": "http",
      "network.protocol.version": "1.1",
      "url.path": "/notes/42",
      "client.address": "127.0.0.1",
      "plinth.route": "all",
    });
    assert.deepEqual(
      [client.name, client.options.kind, client.options.parent, client.ended],
      ["GET", "client", server, 1],
    );
    assert.equal(client.attributes["plinth.service"], "s");
    assert.equal(client.attributes["http.response.status_code"], 200);
    assert.deepEqual(parseTraceparent(String(received.headers.traceparent)), {
      traceId: server.traceId,
      spanId: client.spanId,
      sampled: true,
    });
  });

  const caller = "00-11111111111111111111111111111111-2222222222222222-01";
  const cases: readonly (readonly [what: string, headers: OutgoingHttpHeaders, linked: string | undefined])[] = [
    [
      "is linked to, sampled as the gateway decides",
      { traceparent: caller, tracestate: "a=1", baggage: "b=2" },
      caller,
    ],
    ["is linked to, whatever the case of its name", { TraceParent: caller }, caller],
    ["is not there where it is invalid", { traceparent: caller.replace("00-", "ff-") }, undefined],
    ["is not there where it is none at all", { traceparent: "x".repeat(10_000) }, undefined],
    ["is not there where it is there twice", { traceparent: [caller, caller] }, undefined],
  ];
  for (const [what, headers, linked] of cases) {
    it(`begin a trace of their own, and that of the caller ${what}`, async () => {
      const tracing = recordingTracing();
      await using instance = await httpInstance(echo);
      await using running = await startGateway({ tracing });
      await running.add(instance);
      const options = { port: running.gateway.port, headers };
      const received = JSON.parse(await textOf(request(options))) as Received;
      await running.lastLine();
      const [server, client] = tracing.spans;
      const expected = linked && { ...parseTraceparent(linked), isTrusted: false };
      assert.deepEqual(server?.options.parent, expected ?? null);
      const sent = parseTraceparent(String(received.headers.traceparent));
      assert.deepEqual(sent, { traceId: server?.traceId, spanId: client?.spanId, sampled: true });
      assert.deepEqual([received.headers.tracestate, received.headers.baggage], [undefined, undefined]);
    });
  }

  it("tell why a request failed, and end whatever happens", async () => {
    const tracing = recordingTracing();
    await using instance = await socketInstance(sayOnce("nonsense\r\n"));
    await using running = await startGateway({ tracing });
    await running.add(instance);
    await (await fetch(running.url)).text();
    await (await fetch(running.url, { method: "PROPFIND" })).text();
    await running.lines(2);
    const [server, client, odd] = tracing.spans;
    assert.equal(server?.attributes["plinth.reason"], "upstream_invalid");
    assert.equal(server?.attributes["error.type"], "upstream_invalid");
    assert.equal(client?.failures.length, 1);
    assert.equal(odd?.name, "_OTHER /**");
    for (const span of tracing.spans) assert.equal(span.ended, 1, span.name);
  });
});

describe("the access log", () => {
  it("has one line for each request, without its query, and of bounded length", async () => {
    await using instance = await httpInstance((_request, response) => void response.end("hello"));
    await using running = await startGateway({ routes: [openRoute({ match: { path: "/a/**" } })] });
    await running.add(instance);
    await (
      await fetch(`${running.url}/a/${"x".repeat(1_000)}?token=secret`, {
        headers: { cookie: "c=secret", authorization: "Basic secret" },
      })
    ).text();
    const {
      duration_ms: took,
      trace_id: trace,
      span_id: span,
      request_id: id,
      time: _time,
      path,
      instance: instanceId,
      ...rest
    } = await running.lastLine();
    assert.deepEqual(rest, {
      level: "info",
      logger: "access",
      message: "request",
      method: "GET",
      route: "all",
      status: 200,
      upstream: "s",
      bytes: 5,
      client: "127.0.0.1",
    });
    assert.match(`${String(trace)} ${String(span)} ${String(id)}`, /^[0-9a-f]{32} [0-9a-f]{16} [0-9a-f]{32}$/);
    assert.equal(String(path).length, 256);
    assert.match(String(instanceId), /^s-\d+$/);
    assert.ok(Number(took) >= 0);
    assert.doesNotMatch(JSON.stringify(running.log.lines), /secret/);
  });

  it("can be turned off, by setting or level, and warnings stay", async () => {
    for (const options of [{ settings: { accessLog: false } }, { level: "warn" as const }]) {
      const memory = new MemoryLog();
      const { level, ...rest } = { level: "info" as const, ...options };
      await using running = await startGateway({ ...rest, logger: await createLogger({ destination: memory, level }) });
      assert.equal((await fetch(running.url)).status, 503);
      await until(() => true);
      assert.deepEqual(memory.withMessage("request"), []);
    }
  });
});
