import assert from "node:assert/strict";
import { once } from "node:events";
import { Readable } from "node:stream";
import { describe, it } from "node:test";
import { setTimeout as later } from "node:timers/promises";
import { AppError, currentContext, randomHex } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import { startHttp, type TestHttp } from "../testing/http.ts";
import { RecordingTracing } from "../testing/recording-tracing.ts";

describe("a request id", () => {
  for (const id of ["abcdefgh", "0190b3f2-6c1e-7d44-9a3b-5f8e2c7d1a90", "A_b.c:d-9", "x".repeat(128)]) {
    it(`is kept when well formed: ${id.slice(0, 40)}`, async () => {
      await using http = await startHttp({ routes: (app) => void app.get("/", async (request) => request.id) });
      const response = await http.fetch("/", { headers: { "x-request-id": id } });
      assert.equal(response.headers.get("x-request-id"), id);
      assert.equal(await response.text(), id);
    });
  }
  for (const id of [
    "",
    "short",
    "x".repeat(129),
    "has space",
    "a\tb-cdefgh",
    "<script>alert",
    "ünïcödé-",
    '{"a":"bcd"}',
    "12345678, 12345678",
  ]) {
    it(`is replaced when hostile: ${JSON.stringify(id.slice(0, 40))}`, async () => {
      await using http = await startHttp({ routes: (app) => void app.get("/", async (request) => request.id) });
      const bytes = Buffer.from(
        `GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Id: ${id}\r\n\r\n`,
        "latin1",
      );
      const text = await http.raw(bytes);
      assert.match(text, /\r\nx-request-id: ([0-9a-f]{32})\r\n[^]*\r\n\r\n\1$/);
    });
  }

  it("is replaced when there are two", async () => {
    await using http = await startHttp();
    const two = "X-Request-Id: request-1\r\nX-Request-Id: request-2\r\n";
    const text = await http.raw(`GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${two}\r\n`);
    assert.match(text, /\r\nx-request-id: [0-9a-f]{32}\r\n/);
  });

  it("is another one for each request", async () => {
    await using http = await startHttp();
    const ids = await Promise.all(
      Array.from({ length: 100 }, async () => (await http.fetch("/")).headers.get("x-request-id")),
    );
    assert.equal(new Set(ids).size, 100);
  });
});

describe("the span of a request", () => {
  const traceId = "0af7651916cd43dd8448eb211c80319c";

  it("is a child of the caller's, and what the handler does is a child of it", async () => {
    const tracing = new RecordingTracing();
    const seen: unknown[] = [];
    await using http = await startHttp({
      tracing,
      routes: (app) =>
        void app.post("/notes/:id", async () => {
          seen.push(currentContext()?.span?.spanId);
          return "x";
        }),
    });
    await http.fetch("/notes/1?token=x", {
      method: "POST",
      headers: { traceparent: `00-${traceId}-b7ad6b7169203331-01`, "content-type": "text/plain" },
      body: "x",
    });
    await until(() => tracing.spans[0]?.ends === 1);
    const [span, ...others] = tracing.spans;
    assert.deepEqual(others, []);
    assert.deepEqual(span?.options, {
      kind: "server",
      parent: { traceId, spanId: "b7ad6b7169203331", sampled: true },
    });
    assert.equal(span?.name, "POST /notes/:id");
    const { "user_agent.original": agent, ...attributes } = span.attributes;
    assert.equal(typeof agent, "string");
    assert.deepEqual(attributes, {
      "http.request.method": "POST",
      "http.request.method_original": undefined,
      "http.route": "/notes/:id",
      "http.response.status_code": 200,
      "url.path": "/notes/1",
      "url.scheme": "http",
      "server.address": "127.0.0.1",
      "server.port": http.server.port,
      "client.address": "127.0.0.1",
      "network.protocol.version": "1.1",
    });
    assert.deepEqual(seen, [span.spanId]);
    assert.equal(span.failure, undefined);
  });

  it("fails with the server, not with the caller", async () => {
    const tracing = new RecordingTracing();
    await using http = await startHttp({
      tracing,
      routes: (app) => {
        app.get("/500", () => fail(new Error("broken")));
        app.get("/404", () => fail(new AppError("ERR_NOTE", "not_found", "no such note")));
      },
    });
    await http.fetch("/500");
    await http.fetch("/404");
    await until(() => tracing.spans.every(({ ends }) => ends === 1) && tracing.spans.length === 2);
    assert.match(String(tracing.spans[0]?.failure), /broken/);
    assert.equal(tracing.spans[1]?.failure, undefined);
  });

  for (const traceparent of [
    "",
    "x",
    `00-${"0".repeat(32)}-b7ad6b7169203331-01`,
    `ff-${traceId}-b7ad6b7169203331-01`,
    "00-".repeat(100),
  ]) {
    it(`begins a trace of its own when the header is no good: ${traceparent.slice(0, 60)}`, async () => {
      const tracing = new RecordingTracing();
      await using http = await startHttp({ tracing });
      await http.fetch("/", { headers: { traceparent } });
      assert.equal(tracing.spans[0]?.options.parent, null);
    });
  }

  it("is there, with its id in the problem, for what the parser refuses", async () => {
    const tracing = new RecordingTracing();
    await using http = await startHttp({ tracing });
    const text = await http.raw("GARBAGE\r\n\r\n");
    assert.deepEqual([tracing.spans.length, tracing.spans[0]?.ends], [1, 1]);
    assert.ok(text.includes(`"traceId":"${tracing.spans[0]?.traceId}"`));
  });
});

describe("a log line", () => {
  it("carries the ids of its request wherever the handler writes it, and those of no other", async () => {
    const outside = Promise.withResolvers<void>();
    await using http = await startHttp({
      routes: (app) => {
        const log = (where: string): void => http.log.info("here", { where });
        app.addHook("onRequest", async () => log("onRequest"));
        app.addHook("preParsing", async () => log("preParsing"));
        app.addHook("preValidation", async () => log("preValidation"));
        app.addHook("onSend", async () => log("onSend"));
        app.addHook("onResponse", async () => log("onResponse"));
        app.addContentTypeParser("text/later", (_request, payload, done) => {
          const chunks: Buffer[] = [];
          payload.on("data", (chunk: Buffer) => chunks.push(chunk));
          payload.on("end", () => {
            log("parser");
            done(null, Buffer.concat(chunks).toString());
          });
        });
        app.post("/", async (request) => {
          log("handler");
          await later(1);
          log("timer");
          await Promise.resolve();
          setImmediate(() => log("immediate"));
          process.nextTick(() => log("tick"));
          for await (const chunk of Readable.from(["a", "b"])) log(`stream ${chunk}`);
          request.log.info({ where: "request.log" }, "here");
          await outside.promise;
          return request.body;
        });
      },
    });
    http.log.info("here", { where: "before" });
    const timer = setInterval(() => http.log.info("here", { where: "outside" }), 1);
    const ids = ["request-1", "request-2", "request-3"];
    const replies = ids.map((id, index) =>
      http.fetch("/", {
        method: "POST",
        headers: { "x-request-id": id, "content-type": index === 0 ? "text/later" : "text/plain" },
        body: id,
      }),
    );
    await until(() => http.lines.lines.filter(({ where }) => where === "request.log").length === 3);
    await until(() => http.lines.lines.some(({ where }) => where === "outside"));
    clearInterval(timer);
    outside.resolve();
    assert.deepEqual(await Promise.all(replies.map(async (reply) => (await reply).text())), ids);
    await until(() => http.lines.lines.filter(({ where }) => where === "onResponse").length === 3);
    const here = http.lines.withMessage("here");
    for (const id of ids) {
      const own = here.filter(({ request_id }) => request_id === id);
      const traces = new Set(own.map(({ trace_id }) => trace_id));
      assert.equal(traces.size, 1);
      assert.match(String([...traces][0]), /^[0-9a-f]{32}$/);
      const expected = [
        "onRequest",
        "preParsing",
        "preValidation",
        "handler",
        "timer",
        "immediate",
        "tick",
        "stream a",
      ];
      for (const where of [...expected, "stream b", "request.log", "onSend", "onResponse"])
        assert.ok(
          own.some((line) => line.where === where),
          `${where} of ${id}`,
        );
    }
    const outsiders = here.filter(({ where }) => where === "outside" || where === "before");
    for (const line of outsiders) assert.deepEqual([line.trace_id, line.request_id], [undefined, undefined]);
    assert.deepEqual(
      here.filter(({ request_id, where }) => request_id === undefined && where !== "outside" && where !== "before"),
      [],
    );
  });

  it("carries the ids in the handler after a hook that called back from elsewhere", async () => {
    const waiting: (() => void)[] = [];
    await using http = await startHttp({
      routes: (app) => {
        app.addHook("preHandler", (_request, _reply, done) => void waiting.push(done));
        app.get("/", async () => currentContext()?.requestId);
      },
    });
    const reply = http.fetch("/", { headers: { "x-request-id": "request-1" } });
    await until(() => waiting.length === 1);
    assert.equal(currentContext(), undefined);
    waiting[0]?.();
    assert.equal(await (await reply).text(), "request-1");
  });

  it("outside of any request carries none, also on a connection that has served some", async () => {
    await using http = await startHttp({ routes: (app) => void app.get("/", async () => "x") });
    const connection = http.connect();
    connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await connection.until("\r\n\r\nx");
    await until(() => http.lines.withMessage("request").length === 1);
    http.log.info("outside");
    assert.equal(http.lines.withMessage("outside")[0]?.trace_id, undefined);
    connection.destroy();
    await once(connection.socket, "close");
  });
});

describe("the access log", () => {
  it("has one line for each request, with route, status, time and ids, and never the query", async () => {
    await using http = await startHttp({ routes: (app) => void app.get("/notes/:id", async () => "x") });
    await http.fetch("/notes/7?token=hunter2", { headers: { "x-request-id": "request-1" } });
    await http.fetch("/nowhere?token=hunter2");
    const [hit, miss] = await accessLog(http, 2);
    const { time: _time, trace_id, span_id, duration_ms, ...rest } = hit ?? {};
    assert.deepEqual(rest, {
      level: "info",
      logger: "access",
      message: "request",
      method: "GET",
      path: "/notes/7",
      route: "/notes/:id",
      status: 200,
      client_address: "127.0.0.1",
      request_id: "request-1",
    });
    assert.ok(Number(duration_ms) > 0 && Number(duration_ms) < 5_000);
    assert.match(`${String(trace_id)} ${String(span_id)}`, /^[0-9a-f]{32} [0-9a-f]{16}$/);
    assert.deepEqual(
      [miss?.path, miss?.route, miss?.status, miss?.code],
      ["/nowhere", "unmatched", 404, "ERR_ROUTE_NOT_FOUND"],
    );
    assert.doesNotMatch(JSON.stringify(http.lines.lines), /hunter2/);
  });

  it("keeps paths short, and hosts and users out of them", async () => {
    await using http = await startHttp({ routes: (app) => void app.get("/x", async () => "x") });
    await http.raw("GET http://root:hunter2@evil.example/x?y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    await http.raw(`GET /${"y".repeat(5_000)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    await http.raw("OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const paths = (await accessLog(http, 3)).map(({ path }) => String(path));
    assert.deepEqual([paths[0], paths[1]?.length, paths[2]], ["/x", 256, "*"]);
  });

  it("follows its level while the server runs", async () => {
    await using http = await startHttp({ routes: (app) => void app.get("/:id", async () => "x") });
    await http.fetch("/first");
    await accessLog(http, 1);
    http.log.setLevels({ levels: { access: "off" } });
    await http.fetch("/quiet");
    http.log.setLevels({});
    await http.fetch("/last");
    const lines = await accessLog(http, 2);
    assert.deepEqual(
      lines.map(({ path }) => path),
      ["/first", "/last"],
    );
  });

  it("can be off", async () => {
    await using http = await startHttp({ settings: { accessLog: false } });
    await http.fetch("/");
    assert.deepEqual(http.lines.withMessage("request"), []);
  });
});

describe("the metrics", () => {
  it("count each request by method, route template and status", async () => {
    await using http = await startHttp({
      routes: (app) => {
        app.get("/notes/:id", async () => "x");
        app.post("/notes", () => fail(new Error("x")));
      },
    });
    for (const id of ["1", "2", "3"]) await http.fetch(`/notes/${id}`);
    await http.fetch("/notes", { method: "POST" });
    const series = await counts(http);
    assert.deepEqual(series, {
      '{method="GET",route="/notes/:id",status="200"}': 3,
      '{method="POST",route="/notes",status="500"}': 1,
    });
  });

  it("get no series from 10 000 random paths and methods", async () => {
    await using http = await startHttp({ routes: (app) => void app.get("/notes/:id", async () => "x") });
    await http.fetch("/nowhere");
    const methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "MKCOL", "QUERY", "PURGE", "M-SEARCH"];
    const bytes = Array.from({ length: 10_000 }, (_, index) => {
      const method = methods[index % methods.length];
      return `${method} /${randomHex(4)}/${randomHex(2)}?${randomHex(2)} HTTP/1.1\r\nHost: a\r\n\r\n`;
    });
    const last = "GET /notes/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    while (bytes.length > 0) await http.raw(`${bytes.splice(0, 100).join("")}${last}`); // as many as may wait on a connection
    const series = await counts(http);
    assert.deepEqual(Object.keys(series).toSorted(), [
      '{method="DELETE",route="unmatched",status="404"}',
      '{method="GET",route="/notes/:id",status="200"}',
      '{method="GET",route="unmatched",status="404"}',
      '{method="PATCH",route="unmatched",status="404"}',
      '{method="POST",route="unmatched",status="404"}',
      '{method="PUT",route="unmatched",status="404"}',
      '{method="_OTHER",route="unmatched",status="404"}',
    ]);
    assert.equal(series['{method="_OTHER",route="unmatched",status="404"}'], 5_000);
  });

  it("tell how many requests are being served", async () => {
    const gate = Promise.withResolvers<string>();
    await using http = await startHttp({ routes: (app) => void app.get("/", () => gate.promise) });
    const replies = [http.fetch("/"), http.fetch("/")];
    const active = async (): Promise<string | undefined> =>
      /^http_server_active_requests (\d+)$/m.exec((await http.metrics.expose()).body)?.[1];
    while ((await active()) !== "2") await new Promise(setImmediate);
    gate.resolve("x");
    await Promise.all(replies);
    while ((await active()) !== "0") await new Promise(setImmediate);
  });
});

function fail(error: Error): never {
  throw error;
}

async function accessLog(http: TestHttp, count: number): Promise<Record<string, unknown>[]> {
  await until(() => http.lines.withMessage("request").length >= count);
  return http.lines.withMessage("request");
}

/** Requests counted, by labels, once all that were logged have been counted. */
async function counts(http: TestHttp): Promise<Record<string, number>> {
  const { body } = await http.metrics.expose();
  const lines = body.matchAll(/^http_server_request_duration_seconds_count(\{.*\}) (\d+)$/gm);
  return Object.fromEntries([...lines].map(([, labels, count]) => [labels, Number(count)]));
}
