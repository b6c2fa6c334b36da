// What the spans of our seams hold, by the stable semantic conventions, and what goes over the wires with them.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import { describe, it } from "node:test";
import {
  AppError,
  currentBaggage,
  currentContext,
  parseBaggage,
  runInContext,
  type RequestContext,
} from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import { Health } from "./gen/grpc/health/v1/health_pb.ts";
import { EchoService } from "./gen/plinth/transport/testing/v1/echo_pb.ts";
import { createGrpcClientInterceptors } from "./grpc/client-metrics.ts";
import { instrumentFetch } from "./http/client-metrics.ts";
import { EchoClient, failureOf } from "./testing/grpc-client.ts";
import { startGrpc } from "./testing/grpc.ts";
import { startHttp } from "./testing/http.ts";
import { type RecordedSpan, RecordingTracing } from "./testing/recording-tracing.ts";

const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;

/** The only span, once it has ended. */
async function ended(tracing: RecordingTracing): Promise<RecordedSpan> {
  await until(() => tracing.spans.length > 0 && tracing.spans.every(({ ends }) => ends > 0));
  assert.equal(tracing.spans.length, 1);
  assert.equal(tracing.spans[0]?.ends, 1);
  return tracing.spans[0];
}

/** What is set, as the failure where it is an error by its code. */
function shown({ name, options, attributes, failure }: RecordedSpan): Record<string, unknown> {
  const set = Object.fromEntries(Object.entries(attributes).filter(([, value]) => value !== undefined));
  return { name, kind: options.kind, failed: AppError.is(failure) ? failure.code : failure, ...set };
}

describe("the span of an HTTP server", () => {
  const common = {
    kind: "server",
    "url.scheme": "http",
    "server.address": "notes.example",
    "server.port": 8080,
    "client.address": "127.0.0.1",
    "network.protocol.version": "1.1",
    "user_agent.original": "curl/8",
  };
  const table = [
    {
      ask: "GET /notes/1?token=x",
      status: 200,
      name: "GET /notes/:id",
      route: "/notes/:id",
      path: "/notes/1",
      failed: undefined,
    },
    { ask: "GET /nowhere", status: 404, name: "GET", route: undefined, path: "/nowhere", failed: undefined },
    { ask: "GET /refuses", status: 403, name: "GET /refuses", route: "/refuses", path: "/refuses", failed: undefined },
    { ask: "GET /throws", status: 500, name: "GET /throws", route: "/throws", path: "/throws", failed: "ERR_INTERNAL" },
    { ask: "GET /says503", status: 503, name: "GET /says503", route: "/says503", path: "/says503", failed: "503" },
    {
      ask: "PROPFIND /nowhere",
      status: 404,
      name: "HTTP",
      route: undefined,
      path: "/nowhere",
      failed: undefined,
      original: "PROPFIND",
    },
  ] as const;
  for (const row of table) {
    it(`of ${row.ask} with ${row.status}`, async () => {
      const tracing = new RecordingTracing();
      await using http = await startHttp({
        tracing,
        routes: (app) => {
          app.get("/notes/:id", () => "x");
          app.get("/refuses", () => {
            throw new AppError("ERR_NOTE_DENIED", "permission_denied", "not yours");
          });
          app.get("/throws", () => {
            throw new Error("broken");
          });
          app.get("/says503", (_request, reply) => reply.code(503).send("x"));
        },
      });
      const [verb = ""] = row.ask.split(" ");
      await http.raw(
        `${row.ask} HTTP/1.1\r\nhost: notes.example:8080\r\nuser-agent: curl/8\r\nconnection: close\r\n\r\n`,
      );
      const { "error.type": _, ...rest } = shown(await ended(tracing));
      const expected = {
        ...common,
        name: row.name,
        failed: row.failed,
        "http.request.method": "original" in row ? "_OTHER" : verb,
        "http.response.status_code": row.status,
        "url.path": row.path,
        ...(row.route === undefined ? {} : { "http.route": row.route }),
        ...("original" in row ? { "http.request.method_original": row.original } : {}),
      };
      assert.deepEqual(rest, expected);
    });
  }

  const words: Readonly<Record<string, readonly [peers: readonly string[], isTrusted: boolean]>> = {
    "is a child of a trusted peer's, and has its baggage": [["loopback"], true],
    "begins a trace for any other, without its baggage": [["10.0.0.0/8"], false],
  };
  for (const [what, [trustedPeers, isTrusted]] of Object.entries(words)) {
    it(what, async () => {
      const tracing = new RecordingTracing();
      let tenant: string | undefined;
      await using http = await startHttp({
        tracing,
        settings: { trustedPeers: [...trustedPeers] },
        routes: (app) => void app.get("/", () => (tenant = currentBaggage().get("tenant")?.value) ?? ""),
      });
      const headers = { traceparent, tracestate: "rojo=1, congo=2", baggage: "tenant=acme" };
      await http.fetch("/", { headers });
      const { parent } = (await ended(tracing)).options;
      assert.deepEqual([parent?.traceId, parent?.spanId, parent?.sampled], ["a".repeat(32), "b".repeat(16), true]);
      const taken = [parent?.isTrusted !== false, parent?.traceState, tenant];
      assert.deepEqual(taken, isTrusted ? [true, "rojo=1,congo=2", "acme"] : [false, undefined, undefined]);
    });
  }

  it("has an id of ours in what a stranger is answered, and in the trace of what is asked of others for it", async () => {
    await using server = await recorder(200);
    const ask = instrumentFetch({ peer: "billing" });
    await using http = await startHttp({
      settings: { trustedPeers: [] },
      routes: (app) =>
        void app.get("/", async () => {
          await ask(server.url);
          throw new Error("broken");
        }),
    });
    const reply = await http.fetch("/", { headers: { traceparent, baggage: "tenant=acme" } });
    const body: unknown = await reply.json();
    assert.ok(typeof body === "object" && body !== null && "traceId" in body);
    assert.match(String(body.traceId), /^[0-9a-f]{32}$/);
    assert.notEqual(body.traceId, "a".repeat(32));
    assert.equal(server.seen[0]?.traceparent?.slice(3, 35), body.traceId);
    assert.equal(server.seen[0]?.baggage, undefined);
  });

  it("goes on without a tracestate and baggage that are invalid or too large, and answers all the same", async () => {
    const tracing = new RecordingTracing();
    const seen: number[] = [];
    await using http = await startHttp({
      tracing,
      routes: (app) => void app.get("/", () => String(seen.push(currentBaggage().size))),
    });
    const soup = `${",;=".repeat(2_000)}x`;
    for (const headers of [{ tracestate: soup }, { tracestate: "A=1" }, { baggage: soup }, { baggage: "a b=1,,=;" }]) {
      assert.equal((await http.fetch("/", { headers: { traceparent, ...headers } })).status, 200);
    }
    assert.deepEqual(seen, [0, 0, 0, 0]);
    assert.ok(
      tracing.spans.every(
        ({ options }) => options.parent?.traceState === undefined && options.parent?.traceId === "a".repeat(32),
      ),
    );
  });

  it("has baggage of several lines, 64 members at most", async () => {
    let members: readonly string[] = [];
    await using http = await startHttp({
      routes: (app) => void app.get("/", () => (members = [...currentBaggage().keys()]).length),
    });
    const lines = Array.from({ length: 80 }, (_, index) => `baggage: k${index}=v\r\n`).join("");
    await http.raw(`GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${lines}\r\n`);
    assert.equal(members.length, 64);
    assert.equal(members.at(-1), "k63");
  });
});

describe("probes and scrapes", () => {
  it("make no span, over HTTP and gRPC", async () => {
    const tracing = new RecordingTracing();
    await using http = await startHttp({
      tracing,
      ops: (request, response) => {
        if (request.url !== "/ready" && request.url !== "/metrics") return false;
        response.end("x");
        return true;
      },
    });
    for (const path of ["/ready", "/metrics"]) assert.equal(await (await http.fetch(path)).text(), "x");
    assert.deepEqual(tracing.spans, []);
    await using grpc = await startGrpc({ tracing });
    await grpc.client.unary(Health.method.check, {}).reply;
    assert.deepEqual(tracing.spans, []);
  });
});

/** An HTTP server that keeps the headers of what it is asked. */
async function recorder(status: number) {
  const seen: IncomingHttpHeaders[] = [];
  const server = createServer((request, response) => {
    seen.push(request.headers);
    response.writeHead(status).end("x");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    seen,
    port,
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}

const requestOf = (tracing: RecordingTracing, rest: RequestContext = {}): RequestContext => ({
  ...rest,
  span: tracing.startSpan("request", { parent: { traceId: "a".repeat(32), spanId: "b".repeat(16), sampled: true } }),
});

describe("the span of an HTTP client", () => {
  for (const { method, status, name, failed, original } of [
    { method: "GET", status: 200, name: "GET", failed: undefined },
    { method: "POST", status: 302, name: "POST", failed: undefined },
    { method: "GET", status: 404, name: "GET", failed: "404" },
    { method: "DELETE", status: 503, name: "DELETE", failed: "503" },
    { method: "PROPFIND", status: 200, name: "HTTP", failed: undefined, original: "PROPFIND" },
  ]) {
    it(`of ${method} with ${status}`, async () => {
      const tracing = new RecordingTracing();
      await using server = await recorder(status);
      const ask = instrumentFetch({ peer: "billing", tracing });
      const { host } = new URL(server.url);
      await ask(`http://${host}/bills/1?key=s3cret#x`, { method, redirect: "manual" });
      assert.deepEqual(shown(await ended(tracing)), {
        name,
        kind: "client",
        failed,
        "http.request.method": original === undefined ? method : "_OTHER",
        ...(original === undefined ? {} : { "http.request.method_original": original }),
        "http.response.status_code": status,
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "url.full": `${server.url}/bills/1`,
        "plinth.peer": "billing",
      });
    });
  }

  it("of a server that is not there fails by how the request did", async () => {
    const tracing = new RecordingTracing();
    const gone = await recorder(200);
    await gone[Symbol.asyncDispose]();
    await assert.rejects(instrumentFetch({ peer: "billing", tracing })(gone.url));
    assert.equal((await ended(tracing)).failure, "unreachable");
  });

  it("hands on trace, tracestate, baggage and remaining time, and leaves what the caller has set", async () => {
    const tracing = new RecordingTracing();
    await using server = await recorder(200);
    const clock = new FakeClock();
    const ask = instrumentFetch({ peer: "billing", tracing, clock });
    const baggage = parseBaggage("tenant=acme,name=J%C3%BCrgen");
    const context = { ...requestOf(tracing), baggage, deadlineAtMs: clock.monotonicMs() + 250.7 };
    await runInContext(context, () => ask(server.url, { headers: { "x-own": "1" } }));
    const [headers] = server.seen;
    const span = tracing.spans[1];
    assert.equal(headers?.traceparent, `00-${span?.traceId}-${span?.spanId}-01`);
    assert.equal(span?.options.parent, undefined, "the current one");
    assert.equal(headers?.baggage, "tenant=acme,name=J%C3%BCrgen");
    assert.equal(headers?.["plinth-timeout-ms"], "250");
    assert.equal(headers?.["x-own"], "1");
    await runInContext(context, () => ask(server.url, { headers: { traceparent, baggage: "own=1" } }));
    assert.deepEqual([server.seen[1]?.traceparent, server.seen[1]?.baggage], [traceparent, "own=1"]);
  });

  it("hands on the trace alone, or nothing, where it is told so", async () => {
    const tracing = new RecordingTracing();
    await using server = await recorder(200);
    const context = { ...requestOf(tracing), baggage: parseBaggage("tenant=acme") };
    for (const propagation of ["trace", "none"] as const) {
      await runInContext(context, () => instrumentFetch({ peer: "x", tracing, propagation })(server.url));
    }
    assert.deepEqual(
      server.seen.map((headers) => ["traceparent" in headers, "baggage" in headers]),
      [
        [true, false],
        [false, false],
      ],
    );
  });

  it("is of a request that is not sent when no time is left", async () => {
    const tracing = new RecordingTracing();
    await using server = await recorder(200);
    const clock = new FakeClock();
    const context = { requestId: "r1", deadlineAtMs: clock.monotonicMs() };
    const asked = runInContext(context, () => instrumentFetch({ peer: "x", tracing, clock })(server.url));
    await assert.rejects(asked, { code: "ERR_DEADLINE_EXCEEDED" });
    assert.equal((await ended(tracing)).failure, "timeout");
    assert.deepEqual(server.seen, []);
  });

  it("is none, and nothing goes along, outside of a request where nobody makes spans", async () => {
    await using server = await recorder(200);
    await instrumentFetch({ peer: "x" })(server.url);
    const names = Object.keys(server.seen[0] ?? {});
    assert.deepEqual(
      names.filter((name) => /trace|baggage|plinth/.test(name)),
      [],
    );
  });
});

describe("the spans of gRPC", () => {
  const method = "plinth.transport.testing.v1.EchoService/Say";
  const table = [
    { status: undefined, code: "OK", server: undefined, client: undefined },
    { status: "not_found", code: "NOT_FOUND", server: undefined, client: "NOT_FOUND" },
    { status: "unimplemented", code: "UNIMPLEMENTED", server: "ERR_X", client: "UNIMPLEMENTED" },
    { status: "unavailable", code: "UNAVAILABLE", server: "ERR_X", client: "UNAVAILABLE" },
    { status: "data_loss", code: "DATA_LOSS", server: "ERR_X", client: "DATA_LOSS" },
  ] as const;
  for (const row of table) {
    it(`of a call that ends as ${row.code}: the client's, and below it the server's`, async () => {
      const [ours, theirs] = [new RecordingTracing(), new RecordingTracing()];
      const seen: unknown[] = [];
      await using grpc = await startGrpc({
        tracing: theirs,
        handlers: {
          say: () => {
            seen.push(currentBaggage().get("tenant")?.value);
            const { deadlineAtMs = Infinity } = currentContext() ?? {};
            seen.push(deadlineAtMs - performance.now() < 6_000);
            if (row.status !== undefined) throw new AppError("ERR_X", row.status, "x");
            return {};
          },
        },
      });
      const client = new EchoClient(
        grpc.server.port,
        await createGrpcClientInterceptors({ peer: "echo", tracing: ours }),
      );
      const context = { baggage: parseBaggage("tenant=acme"), deadlineAtMs: performance.now() + 5_000 };
      const call = runInContext(context, () => client.say({}));
      if (row.status === undefined) await call;
      else await failureOf(call);
      const [mine, its] = [await ended(ours), await ended(theirs)];
      client.close();
      assert.deepEqual(shown(mine), {
        name: method,
        kind: "client",
        failed: row.client,
        "rpc.system.name": "grpc",
        "rpc.method": method,
        "rpc.status_code": row.code,
        "server.address": "127.0.0.1",
        "server.port": grpc.server.port,
        "plinth.peer": "echo",
      });
      assert.deepEqual(shown(its), {
        name: method,
        kind: "server",
        failed: row.server,
        "rpc.system.name": "grpc",
        "rpc.method": method,
        "rpc.status_code": row.code,
        "client.address": "127.0.0.1",
      });
      assert.deepEqual([its.options.parent?.traceId, its.options.parent?.spanId], [mine.traceId, mine.spanId]);
      assert.deepEqual(seen, ["acme", true]);
    });
  }

  it("begins a trace for a stranger's call, without its baggage", async () => {
    const tracing = new RecordingTracing();
    let members = -1;
    await using grpc = await startGrpc({
      tracing,
      settings: { trustedPeers: ["10.0.0.0/8"] },
      handlers: {
        say: () => {
          members = currentBaggage().size;
          return {};
        },
      },
    });
    const metadata = { traceparent, tracestate: "rojo=1", baggage: "tenant=acme" };
    await grpc.client.unary(EchoService.method.say, {}, { metadata }).reply;
    const { parent } = (await ended(tracing)).options;
    assert.deepEqual([parent?.isTrusted, parent?.traceState, members], [false, undefined, 0]);
  });

  it("has a client's call that is not sent when no time is left", async () => {
    const [ours, theirs] = [new RecordingTracing(), new RecordingTracing()];
    await using grpc = await startGrpc({ tracing: theirs });
    const client = new EchoClient(
      grpc.server.port,
      await createGrpcClientInterceptors({ peer: "echo", tracing: ours }),
    );
    await runInContext({ deadlineAtMs: performance.now() - 1 }, () => failureOf(client.say({})));
    client.close();
    assert.equal((await ended(ours)).failure, "DEADLINE_EXCEEDED");
    assert.deepEqual(theirs.spans, []);
  });
});
