import assert from "node:assert/strict";
import { PassThrough, Readable } from "node:stream";
import { after, before, describe, it } from "node:test";
import { AppError } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import { startHttp, type TestHttp } from "../testing/http.ts";
import type { HttpApp } from "./server.ts";

const secret = "connection string postgres://root:hunter2@db";

/** Everything that can stand after `throw`, damaged things too. */
const throwables: readonly (readonly [name: string, make: () => unknown])[] = [
  ["an Error", () => new Error(secret)],
  ["an Error with a cause", () => new Error(secret, { cause: new Error(secret) })],
  ["an AggregateError", () => new AggregateError([new Error(secret)], secret)],
  ["an internal AppError", () => new AppError("ERR_NOTES_STORE", "internal", secret, { metadata: { secret } })],
  ["an AppError of data loss", () => new AppError("ERR_NOTES_STORE", "data_loss", secret)],
  ["an Error that claims a status of 400", () => Object.assign(new Error(secret), { statusCode: 400, status: 400 })],
  ["an Error that claims headers", () => Object.assign(new Error(secret), { headers: { "x-secret": secret } })],
  ["a SyntaxError", () => new SyntaxError(secret)],
  ["a frozen Error", () => Object.freeze(new Error(secret))],
  ["a string", () => secret],
  ["an empty string", () => ""],
  ["zero", () => 0],
  ["NaN", () => Number.NaN],
  ["a BigInt", () => 1n],
  ["false", () => false],
  ["null", () => null],
  ["undefined", () => undefined],
  ["a symbol", () => Symbol(secret)],
  ["a function", () => () => secret],
  ["an object", () => ({ message: secret })],
  ["an object without prototype", () => Object.create(null)],
  ["an object that says it has a status", () => ({ statusCode: 404, message: secret })],
  ["a promise", async () => secret],
  ["a getter that throws", () => Object.defineProperty(new Error("x"), "message", { get: boom })],
  ["a code whose getter throws", () => Object.defineProperty(new Error("x"), "code", { get: boom })],
  ["a proxy that throws at every touch", () => new Proxy({}, new Proxy({}, { get: () => boom }))],
  ["a revoked proxy", () => revoked()],
];

describe("whatever is thrown", () => {
  const places: readonly (readonly [name: string, route: (app: HttpApp, make: () => unknown) => void])[] = [
    ["a handler", (app, make) => void app.get("/", () => raise(make))],
    ["an async handler", (app, make) => void app.get("/", async () => raise(make))],
    [
      "an async handler, later",
      (app, make) => void app.get("/", async () => setImmediatePromise().then(() => raise(make))),
    ],
    ["a handler given to reply.send", (app, make) => void app.get("/", (_request, reply) => sendError(reply, make))],
    ["an onRequest hook", (app, make) => withHook(app, (inner) => inner.addHook("onRequest", () => raise(make)))],
    [
      "an async onRequest hook",
      (app, make) => withHook(app, (inner) => inner.addHook("onRequest", async () => raise(make))),
    ],
    ["a preParsing hook", (app, make) => withHook(app, (inner) => inner.addHook("preParsing", () => raise(make)))],
    [
      "a preValidation hook",
      (app, make) => withHook(app, (inner) => inner.addHook("preValidation", () => raise(make))),
    ],
    ["a preHandler hook", (app, make) => withHook(app, (inner) => inner.addHook("preHandler", () => raise(make)))],
    [
      "an async preHandler hook",
      (app, make) => withHook(app, (inner) => inner.addHook("preHandler", async () => raise(make))),
    ],
    ["a hook of the route", (app, make) => void app.get("/", { preHandler: () => raise(make) }, async () => "reached")],
    [
      "a preSerialization hook",
      (app, make) => withHook(app, (inner) => inner.addHook("preSerialization", () => raise(make))),
    ],
    ["an onSend hook", (app, make) => withHook(app, (inner) => inner.addHook("onSend", () => raise(make)))],
    ["an async onSend hook", (app, make) => withHook(app, (inner) => inner.addHook("onSend", async () => raise(make)))],
    [
      "a serializer",
      (app, make) => void app.get("/", (_request, reply) => void reply.serializer(() => raise(make)).send({})),
    ],
    [
      "a serializer of a returned value",
      (app, make) =>
        void app.get("/", (_request, reply) => {
          reply.serializer(() => raise(make));
          return {};
        }),
    ],
    [
      "an error handler of the route's own scope",
      (app, make) => {
        app.setErrorHandler(() => raise(make));
        app.get("/", () => raise(() => new AppError("ERR_NOTES_TEXT", "invalid_argument", "no text")));
      },
    ],
    [
      "an async error handler",
      (app, make) => {
        app.setErrorHandler(async () => raise(make));
        app.get("/", () => raise(() => new AppError("ERR_NOTES_TEXT", "invalid_argument", "no text")));
      },
    ],
  ];
  for (const [place, addRoute] of places) {
    describe(`in ${place}`, () => {
      let http: TestHttp;
      before(async () => {
        http = await startHttp({
          routes: async (app) => {
            for (const [index, [, make]] of throwables.entries())
              await app.register(async (scope) => addRoute(scope, make), { prefix: `/${index}` });
          },
        });
      });
      after(() => http.server.close());

      for (const [index, [name]] of throwables.entries()) {
        it(`becomes a 500 problem without its text, one report with the ids, and no crash: ${name}`, async () => {
          const id = `request-${index}`;
          const response = await http.fetch(`/${index}`, { headers: { "x-request-id": id } });
          const text = await response.text();
          assert.equal(response.status, 500, text);
          assert.equal(response.headers.get("content-type"), "application/problem+json");
          assert.equal(response.headers.get("x-request-id"), id);
          assert.doesNotMatch(text + JSON.stringify([...response.headers]), /hunter2/);
          const problem = JSON.parse(text);
          assert.deepEqual([problem.code, problem.status], ["ERR_INTERNAL", 500]);
          const reports = (await http.reports()).filter(({ requestId }) => requestId === id);
          assert.deepEqual(
            reports.map(({ traceId, origin, attributes }) => [traceId, origin, attributes]),
            [[problem.traceId, "request", { route: `/${index}` }]],
          );
        });
      }
    });
  }
});

describe("a handler that fails", () => {
  it("in a way meant for the caller tells code, text and metadata, and the error bus hears nothing", async () => {
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/", async () => {
          throw new AppError("ERR_NOTES_FULL", "resource_exhausted", "no more notes", {
            metadata: { limit: "50" },
            retryable: true,
          });
        }),
    });
    const response = await http.fetch("/");
    assert.equal(response.status, 429);
    const { traceId, ...problem } = await problemOf(response);
    assert.deepEqual(problem, {
      type: "about:blank",
      title: "Too Many Requests",
      status: 429,
      code: "ERR_NOTES_FULL",
      detail: "no more notes",
      retryable: true,
      metadata: { limit: "50" },
    });
    assert.match(traceId, /^[0-9a-f]{32}$/);
    assert.deepEqual(await http.reports(), []);
  });

  it("as unavailable tells so and is reported", async () => {
    await using http = await startHttp({
      routes: (app) => void app.get("/", () => raise(() => new AppError("ERR_NOTES_DOWN", "unavailable", "try again"))),
    });
    const response = await http.fetch("/");
    assert.deepEqual([response.status, (await problemOf(response)).retryable], [503, true]);
    assert.equal((await http.reports()).length, 1);
  });

  it("leaves none of the headers that described its reply", async () => {
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/", async (_request, reply) => {
          reply.headers({
            "cache-control": "public, max-age=3600",
            "content-encoding": "gzip",
            "content-length": "7",
            etag: '"1"',
            "transfer-encoding": "chunked",
            "x-kept": "yes",
          });
          throw new Error("x");
        }),
    });
    const response = await http.fetch("/");
    assert.equal((await problemOf(response)).code, "ERR_INTERNAL");
    for (const name of ["cache-control", "content-encoding", "etag", "transfer-encoding"])
      assert.equal(response.headers.get(name), null);
    assert.equal(response.headers.get("x-kept"), "yes");
  });

  it("after a header that cannot be sent is answered without that header", async () => {
    for (const routes of badHeaderRoutes) {
      await using http = await startHttp({ routes });
      const response = await http.fetch("/");
      assert.deepEqual([response.status, response.headers.get("x-bad")], [500, null]);
      assert.equal((await problemOf(response)).code, "ERR_INTERNAL");
      assert.equal((await http.reports()).length, 1);
    }
  });

  it("to return what can be sent is answered", async () => {
    const returned: readonly unknown[] = [5, Symbol("x"), () => {}, new Map()];
    for (const value of returned) {
      await using http = await startHttp({
        routes: (app) =>
          void app.get("/", (_request, reply) => {
            reply.type("text/plain");
            return value;
          }),
      });
      const response = await http.fetch("/");
      assert.equal(response.status, 500, String(value));
      assert.equal((await http.reports()).length, 1);
    }
  });

  it("to fit its reply schema is answered, and the missing field is for the operators", async () => {
    const schema = { response: { 200: { type: "object", required: ["hunter2"], properties: { hunter2: {} } } } };
    await using http = await startHttp({ routes: (app) => void app.get("/", { schema }, async () => ({ a: 1 })) });
    const text = await (await http.fetch("/")).text();
    assert.doesNotMatch(text, /hunter2/);
    const [report] = await http.reports();
    assert.match(report?.error.message ?? "", /hunter2/);
  });

  it("after it has replied is reported, and the reply stands", async () => {
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/", async (_request, reply) => {
          void reply.send("done");
          throw new Error("too late");
        }),
    });
    assert.equal(await (await http.fetch("/")).text(), "done");
    const [report, ...rest] = await reportsOf(http, 1);
    assert.deepEqual(
      [report?.error.message, report?.attributes, rest],
      ["too late", { route: "/", replied: true }, []],
    );
    assert.match(report?.requestId ?? "", /./);
  });

  it("after it has taken the reply over is reported, and the connection is not left hanging", async () => {
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/", async (_request, reply) => {
          reply.hijack();
          throw new Error("too late");
        }),
    });
    assert.equal(await http.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "");
    assert.equal((await reportsOf(http, 1)).length, 1);
  });

  it("by writing to a reply that has ended is reported, and the process lives", async () => {
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/", (_request, reply) => {
          reply.hijack();
          reply.raw.end("done");
          reply.raw.write("too late");
        }),
    });
    assert.match(await http.raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), /done/);
    const [report] = await reportsOf(http, 1);
    assert.match(report?.error.message ?? "", /write after end/);
    assert.match(report?.traceId ?? "", /./);
  });

  it("in a hook that runs after the reply is reported", async () => {
    await using http = await startHttp({
      routes: (app) => {
        app.addHook("onResponse", async () => raise(() => new Error("too late")));
        app.get("/", async () => "done");
      },
    });
    assert.equal(await (await http.fetch("/")).text(), "done");
    const [report] = await reportsOf(http, 1);
    assert.deepEqual([report?.error.message, report?.attributes], ["too late", { route: "/" }]);
  });
});

describe("a handler that replies twice", () => {
  it("has its first reply sent and the second told in the log, with the ids", async () => {
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/", (_request, reply) => {
          void reply.send("first");
          void reply.send("second");
        }),
    });
    assert.equal(await (await http.fetch("/")).text(), "first");
    await until(() => http.lines.lines.some(({ level }) => level === "warn"));
    const warning = http.lines.lines.find(({ level }) => level === "warn");
    assert.match(String(warning?.message), /already sent/);
    assert.ok(warning?.trace_id);
  });
});

describe("a reply that is a stream", () => {
  it("and fails before its first byte becomes a 500 problem", async () => {
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/", async (_request, reply) => reply.type("text/plain").send(failing([], new Error(secret)))),
    });
    const response = await http.fetch("/");
    assert.deepEqual([response.status, (await problemOf(response)).code], [500, "ERR_INTERNAL"]);
    assert.equal((await http.reports()).length, 1);
  });

  for (const [kind, make] of [
    ["node", (chunks: string[], error: unknown) => failing(chunks, error)],
    ["web", (chunks: string[], error: unknown) => Readable.toWeb(failing(chunks, error))],
  ] as const) {
    for (const [name, error] of [
      ["an Error", new Error(secret)],
      ["a 404", new AppError("ERR_NOTES_GONE", "not_found", "gone")],
    ] as const) {
      it(`and fails after part was sent ends in a broken connection, never a whole reply (${kind}, ${name})`, async () => {
        await using http = await startHttp({
          routes: (app) =>
            void app.get("/", async (_request, reply) => reply.type("text/plain").send(make(["part"], error))),
        });
        const text = await http.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert.match(text, /part/);
        assert.doesNotMatch(text, /\r\n0\r\n\r\n$/);
        assert.doesNotMatch(text, /hunter2|problem/);
        const status = error instanceof AppError ? 404 : 500;
        assert.equal((await http.reports()).length, status === 500 ? 1 : 0);
        await until(() => http.lines.withMessage("request").length === 1);
        assert.equal(http.lines.withMessage("request")[0]?.status, status);
        assert.equal((await http.fetch("/nowhere")).status, 404);
      });
    }
  }

  it("is destroyed when the caller goes, which is nobody's error", async () => {
    const source = new PassThrough();
    const closed = new Promise((resolve) => source.once("close", resolve));
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/", async (_request, reply) => {
          source.write("part");
          return reply.type("text/plain").send(source);
        }),
    });
    const connection = http.connect();
    connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await connection.until("part");
    connection.destroy();
    await closed;
    await until(() => http.lines.withMessage("request").length === 1);
    assert.equal(http.lines.withMessage("request")[0]?.status, 499);
    assert.deepEqual(await http.reports(), []);
  });

  it("is cut when the handler writes its head twice", async () => {
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/", async (_request, reply) => {
          reply.raw.writeHead(200, { "content-length": "9" });
          reply.raw.write("part");
          return "whole";
        }),
    });
    const text = await http.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert.ok(text.endsWith("part"), text);
    assert.equal((await http.reports()).length, 1);
  });
});

const badHeaderRoutes: readonly ((app: HttpApp) => void)[] = [
  (app) => app.get("/", (_request, reply) => void reply.header("x-bad", "a\r\nset-cookie: x").send("x")),
  (app) =>
    app.get("/", (_request, reply) => {
      reply.header("x-bad", "\u{1f600}");
      return "x";
    }),
  (app) =>
    app.get("/", async (_request, reply) => {
      reply.header("x-bad", "\0");
      return "x";
    }),
  (app) =>
    app.get("/", async (_request, reply) => {
      reply.header("x-bad\r\n", "x");
      throw new Error("x");
    }),
  (app) =>
    app.get("/", async (_request, reply) => {
      reply.raw.statusMessage = "a\r\nb";
      return "x";
    }),
  (app) =>
    app.get("/", async (_request, reply) =>
      reply
        .header("x-bad", "\n")
        .type("text/plain")
        .send(Readable.from(["a"])),
    ),
];

async function problemOf(response: Response) {
  return JSON.parse(await response.text());
}

async function reportsOf(http: TestHttp, count: number): ReturnType<TestHttp["reports"]> {
  await until(() => http.errors.stats().reported >= count);
  return http.reports();
}

function withHook(app: HttpApp, add: (app: HttpApp) => unknown): void {
  add(app);
  app.get("/", async () => ({ reached: true }));
}

function raise(make: () => unknown): never {
  throw make();
}

function boom(): never {
  throw new Error(secret);
}

function sendError(reply: { send(payload: unknown): unknown }, make: () => unknown): void {
  const thrown = make();
  if (thrown instanceof Error) void reply.send(thrown);
  else raise(() => thrown);
}

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

function failing(chunks: readonly string[], error: unknown): Readable {
  return Readable.from(
    (async function* () {
      yield* chunks;
      await setImmediatePromise();
      throw error;
    })(),
    { objectMode: false },
  );
}

function setImmediatePromise(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
