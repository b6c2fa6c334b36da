import assert from "node:assert/strict";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { type Duplex, PassThrough, Readable, Transform } from "node:stream";
import { after, before, describe, it } from "node:test";
import { createGunzip } from "node:zlib";
import { currentContext, type ErrorOrigin } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import { startHttp, type TestHttp } from "../testing/http.ts";
import type { HttpApp } from "./server.ts";

const secret = "connection string postgres://root:hunter2@db";
const post =
  'POST / HTTP/1.1\r\nHost: a\r\nX-Request-Id: request-1\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{"a":1}';
const get = "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: request-1\r\nConnection: close\r\n\r\n";

/** What the caller gets: a reply with this status, whole; or part of one, or nothing, and then the end of the connection. */
type Expected = 200 | 404 | 500 | "cut";

interface Place {
  readonly name: string;
  readonly routes: (app: HttpApp) => unknown;
  readonly expected: Expected;
  readonly sends?: string;
  readonly origin?: ErrorOrigin;
}

/** Where code of a service runs that fastify itself does not recover from, or does so only for an `Error`. */
const places: readonly Place[] = [
  {
    name: "a content type parser that throws null",
    sends: post,
    expected: 500,
    routes: (app) => withParser(app, () => raise(null)),
  },
  {
    name: "a content type parser that rejects with undefined",
    sends: post,
    expected: 500,
    routes: (app) => withParser(app, async () => raise(nothing)),
  },
  {
    name: "a parser of a whole body that throws null",
    sends: post,
    expected: 500,
    routes: (app) => {
      app.removeAllContentTypeParsers();
      app.addContentTypeParser("*", { parseAs: "string" }, () => raise(null));
      app.post("/", async () => "reached");
    },
  },
  {
    name: "what a preParsing hook pipes the body into",
    sends: post,
    expected: 500,
    routes: (app) => {
      app.addHook("preParsing", async (_request, _reply, payload) =>
        payload.pipe(new Transform({ transform: (_chunk, _encoding, done) => done(failure()) })),
      );
      app.post("/", async () => "reached");
    },
  },
  {
    name: "an inflater that is sent no gzip",
    sends: post,
    expected: 500,
    routes: (app) => {
      app.addHook("preParsing", async (_request, _reply, payload) => payload.pipe(createGunzip()));
      app.post("/", async () => "reached");
    },
  },
  {
    name: "a file that a handler pipes the body into",
    sends: post,
    expected: 500,
    routes: (app) => {
      withoutBody(app);
      app.post("/", (request) => void request.raw.pipe(createWriteStream("/nowhere/hunter2")));
    },
  },
  {
    name: "a listener for the body's data",
    sends: post,
    expected: 500,
    routes: (app) => {
      withoutBody(app);
      app.post("/", (request) => void request.raw.on("data", () => raise(failure())));
    },
  },
  {
    name: "a listener for the body's end",
    sends: post,
    expected: 500,
    routes: (app) => {
      withoutBody(app);
      app.post("/", (request) => void request.raw.resume().on("end", () => raise(failure())));
    },
  },
  {
    name: "a listener for the body's data, part of the reply having been sent",
    sends: post,
    expected: "cut",
    routes: (app) => {
      withoutBody(app);
      app.post("/", (request, reply) => {
        reply.hijack();
        reply.raw.write("part");
        request.raw.on("data", () => raise(failure()));
      });
    },
  },
  {
    name: "a listener for the request's close",
    expected: 200,
    routes: (app) => void app.get("/", async ({ raw }) => void raw.on("close", () => raise(failure()))),
  },
  {
    name: "a listener for the reply's finish",
    expected: 200,
    routes: (app) => void app.get("/", async (_request, { raw }) => void raw.on("finish", () => raise(failure()))),
  },
  {
    name: "a listener for the reply's close",
    expected: 200,
    routes: (app) => void app.get("/", async (_request, { raw }) => void raw.on("close", () => raise(failure()))),
  },
  {
    name: "an onResponse hook that throws null",
    expected: 200,
    routes: (app) => {
      app.addHook("onResponse", () => raise(null));
      app.get("/", async () => "x");
    },
  },
  {
    name: "an onResponse hook of the route",
    expected: 200,
    routes: (app) => void app.get("/", { onResponse: () => raise(failure()) }, async () => "x"),
  },
  {
    name: "an onError hook that throws null",
    expected: 500,
    routes: (app) => {
      app.addHook("onError", () => raise(null));
      app.get("/", () => raise(failure()));
    },
  },
  {
    name: "a handler that has replied",
    expected: 200,
    routes: (app) =>
      void app.get("/", (_request, reply) => {
        void reply.send("x");
        raise(failure());
      }),
  },
  {
    name: "a handler that has called for the 404",
    expected: 404,
    routes: (app) =>
      void app.get("/", (_request, reply) => {
        reply.callNotFound();
        raise(failure());
      }),
  },
  {
    name: "a handler that has taken the reply over",
    expected: "cut",
    routes: (app) =>
      void app.get("/", (_request, reply) => {
        reply.hijack();
        raise(failure());
      }),
  },
  {
    name: "a handler that has taken the reply over and written part of it",
    expected: "cut",
    routes: (app) =>
      void app.get("/", (_request, reply) => {
        reply.hijack();
        reply.raw.write("part");
        raise(failure());
      }),
  },
  {
    name: "a handler that breaks its reply off with an error",
    expected: "cut",
    origin: "stream",
    routes: (app) =>
      void app.get("/", (_request, reply) => {
        reply.hijack();
        reply.raw.write("part");
        reply.raw.destroy(failure());
      }),
  },
  {
    name: "a handler whose AbortError is nobody's leaving",
    expected: 500,
    routes: (app) => void app.get("/", async () => AbortSignal.abort().throwIfAborted()),
  },
  {
    name: "a reply stream that reads by throwing",
    expected: 500,
    routes: (app) => void app.get("/", () => new Readable({ read: () => raise(failure()) })),
  },
  {
    name: "a reply stream that is closed before its end",
    expected: "cut",
    origin: "stream",
    routes: (app) =>
      void app.get("/", (_request, reply) => {
        const stream = new PassThrough();
        stream.write("part");
        reply.raw.once("pipe", () => setImmediate(() => setImmediate(() => stream.destroy())));
        return stream;
      }),
  },
  {
    name: "a reply stream of things that cannot be sent",
    expected: "cut",
    origin: "stream",
    routes: (app) => void app.get("/", () => Readable.from(["part", { a: 1 }], { objectMode: true })),
  },
  {
    name: "a web stream of things that cannot be sent",
    expected: "cut",
    origin: "stream",
    routes: (app) =>
      void app.get(
        "/",
        () =>
          new ReadableStream({
            start(controller) {
              controller.enqueue({ a: 1 });
              controller.close();
            },
          }),
      ),
  },
  {
    name: "a web stream that fails with nothing",
    expected: 500,
    routes: (app) => void app.get("/", () => new ReadableStream({ pull: (controller) => controller.error() })),
  },
  {
    name: "the body of a Response",
    expected: 500,
    routes: (app) => void app.get("/", async () => new Response(new ReadableStream({ pull: () => raise(failure()) }))),
  },
];

describe("what is thrown by", () => {
  for (const { name, routes, expected, sends = get, origin = "request" } of places) {
    it(`${name} reaches the error bus once, with the ids, and the caller learns nothing of it`, async () => {
      await using http = await startHttp({ routes: (app) => void routes(app) });
      const text = await http.raw(sends);
      assert.doesNotMatch(text, /hunter2|ENOENT|nowhere|gzip|argument/);
      const status = /^HTTP\/1\.1 (\d+)/.exec(text)?.[1];
      if (expected === "cut") assert.doesNotMatch(text, /\r\n0\r\n\r\n$|problem/);
      else assert.equal(status, String(expected), text);
      if (expected === 500) assert.match(text, /application\/problem\+json[^]*"code":"ERR_INTERNAL"[^]*"traceId":"/);
      await until(() => http.errors.stats().reported > 0);
      await until(() => http.lines.withMessage("request").length === 1);
      const [report, ...others] = await http.reports();
      assert.deepEqual(
        [report?.origin, report?.handled, report?.requestId, report?.attributes["route"], others],
        [origin, true, "request-1", "/", []],
      );
      assert.equal(report?.traceId, http.lines.withMessage("request")[0]?.trace_id);
      assert.equal((await http.fetch("/nowhere")).status, 404, "the server serves on");
    });
  }
});

describe("what bodies are piped into", () => {
  it("is listened to for no longer than each request, where it outlives them", async () => {
    const sink = new PassThrough().resume();
    const before = sink.listenerCount("error");
    await using http = await startHttp({
      routes: (app) => {
        withoutBody(app);
        app.post("/", async (request) => {
          request.raw.pipe(sink, { end: false });
          await once(request.raw, "end");
          return "taken";
        });
      },
    });
    for (let request = 0; request < 3; request++) {
      assert.equal(await (await http.fetch("/", { method: "POST", body: "part" })).text(), "taken");
    }
    await until(() => sink.listenerCount("error") === before);
  });
});

describe("what is thrown on a connection that was upgraded", () => {
  let http: TestHttp;
  const upgrade = "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: request-1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
  let taken: (socket: Duplex) => void = () => {};
  before(async () => {
    http = await startHttp({
      routes: (app) => void app.server.on("upgrade", (_request, socket: Duplex) => taken(socket)),
    });
  });
  after(() => http.server.close());

  it("by the listener ends that connection, and is one report with the ids", async () => {
    taken = () => raise(failure());
    assert.equal(await http.raw(upgrade), "");
    const [report, ...others] = await http.reports();
    assert.deepEqual([report?.error.message, report?.requestId, others], [secret, "request-1", []]);
    assert.equal((await http.fetch("/")).status, 404);
  });

  it("by the socket, which nobody listens to, is reported and does not end the process", async () => {
    const reported = http.errors.stats().reported;
    taken = (socket) => void socket.destroy(new Error("the socket broke"));
    assert.equal(await http.raw(upgrade), "");
    await until(() => http.errors.stats().reported > reported);
    const last = (await http.reports()).at(-1);
    assert.deepEqual([last?.error.message, last?.origin], ["the socket broke", "stream"]);
  });

  it("because the other side has left is nobody's error", async () => {
    const reported = http.errors.stats().reported;
    const closed = Promise.withResolvers<void>();
    taken = (socket) => {
      socket.once("close", () => closed.resolve());
      socket.destroy(Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" }));
    };
    await http.raw(upgrade);
    await closed.promise;
    assert.equal(http.errors.stats().reported, reported);
  });
});

describe("what is thrown when the caller has gone", () => {
  it("by an onRequestAbort hook is one report with the ids", async () => {
    const reached = Promise.withResolvers<void>();
    await using http = await startHttp({
      routes: (app) => {
        app.addHook("onRequestAbort", () => raise(null));
        app.get("/", () => {
          reached.resolve();
          return new Promise(() => {});
        });
      },
    });
    const connection = http.connect();
    connection.write(get);
    await reached.promise;
    connection.destroy();
    await until(() => http.errors.stats().reported > 0);
    assert.deepEqual(
      (await http.reports()).map(({ requestId, origin }) => [requestId, origin]),
      [["request-1", "request"]],
    );
  });

  it("by a handler that was told to stop is a line for developers, and no report", async () => {
    const reached = Promise.withResolvers<void>();
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/", ({ signal }) => {
          reached.resolve();
          return new Promise((_resolve, reject) => {
            signal.addEventListener("abort", () => reject(failure()));
          });
        }),
    });
    const connection = http.connect();
    connection.write(get);
    await reached.promise;
    connection.destroy();
    await until(() => http.lines.withMessage("a handler failed after it had been told to stop").length === 1);
    assert.deepEqual(await http.reports(), []);
  });
});

describe("a listener for the abort of a request", () => {
  it("runs inside of the request, so that what it throws is known to be of it", async () => {
    const reached = Promise.withResolvers<void>();
    const aborted = Promise.withResolvers<string | undefined>();
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/", ({ signal }) => {
          signal.addEventListener("abort", () => aborted.resolve(currentContext()?.requestId));
          reached.resolve();
          return new Promise(() => {});
        }),
    });
    const connection = http.connect();
    connection.write(get);
    await reached.promise;
    connection.destroy();
    assert.equal(await aborted.promise, "request-1");
  });
});

describe("an error that was not meant for callers", () => {
  it("is reported also when it has a status that callers may act on", async () => {
    const refused = Object.assign(new Error("connect ECONNREFUSED 10.1.2.3:5432"), {
      code: "ECONNREFUSED",
      errno: -111,
      syscall: "connect",
    });
    await using http = await startHttp({ routes: (app) => void app.get("/", () => raise(refused)) });
    const text = await http.raw(get);
    assert.doesNotMatch(text, /10\.1\.2\.3|ECONNREFUSED/);
    const reports = await http.reports();
    assert.deepEqual(
      reports.map(({ error }) => error.cause),
      [refused],
    );
  });
});

const nothing: unknown = undefined;

function failure(): Error {
  return new Error(secret);
}

function raise(thrown: unknown): never {
  throw thrown;
}

function withParser(app: HttpApp, parse: () => never | Promise<unknown>): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", parse);
  app.post("/", async () => "reached");
}

/** The body is left to the handler. */
function withoutBody(app: HttpApp): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", (_request, _payload, done) => done(null));
}
