import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, constants } from "node:http2";
import { createServer } from "node:net";
import { describe, it } from "node:test";
import { Server, status } from "@grpc/grpc-js";
import { coreModule, createHealth, createTracing, defineModule, provider, systemClock, token } from "@plinth/kernel";
import { testApp, until } from "@plinth/kernel/testing";
import { endpoints } from "@plinth/registry";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { rpcService, rpcServices } from "../rpc/service.ts";
import { observe } from "../testing/http.ts";
import { grpcModule, grpcServer } from "./module.ts";
import { createGrpcServer, type GrpcServer } from "./server.ts";
import { grpcSettings } from "./settings.ts";
import { EchoClient, failureOf } from "../testing/grpc-client.ts";
import { echoHandlers, startGrpc, testSettings } from "../testing/grpc.ts";

const never = new AbortController().signal;

/** What the library is like if it keeps a table in something that is no Map. */
function hideTable(name: "http2Servers"): Disposable {
  Object.defineProperty(Server.prototype, name, {
    configurable: true,
    set(table: Map<unknown, unknown>) {
      const hidden = new Proxy(
        {},
        {
          get(_target, key) {
            const value: unknown = Reflect.get(table, key, table);
            return typeof value === "function" ? value.bind(table) : value;
          },
        },
      );
      Object.defineProperty(this, name, { value: hidden });
    },
  });
  return { [Symbol.dispose]: () => void Reflect.deleteProperty(Server.prototype, name) };
}

describe("a gRPC library that keeps its tables otherwise", () => {
  it("is not listened with: the error says what to do", async () => {
    using _hidden = hideTable("http2Servers");
    await assert.rejects(startGrpc(), {
      code: "ERR_LISTEN_LIBRARY",
      message:
        "grpc-js is another than this package asks for, and does not hand over its connections; install that version",
    });
  });
});

describe("the drain of a gRPC server", () => {
  it("fails no unary call of clients that go elsewhere when it stops", async () => {
    await using old = await startGrpc({ handlers: { say: slowSay } });
    await using next = await startGrpc({ handlers: { say: slowSay } });
    let target = old;
    const stop = new AbortController();
    const failures: unknown[] = [];
    let calls = 0;
    const loop = async (): Promise<void> => {
      while (!stop.signal.aborted) {
        try {
          await target.client.say({ text: "x" });
          calls++;
        } catch (error) {
          failures.push(error);
        }
      }
    };
    const loops = Array.from({ length: 32 }, loop);
    await until(() => calls > 500);
    target = next; // as a client does that watches the registry, where the server is gone before it drains
    await until(() => next.lines.withMessage("call").length > 200);
    await old.server.drain({ signal: never });
    await until(() => next.lines.withMessage("call").length > 500);
    stop.abort();
    await Promise.all(loops);
    assert.deepEqual(failures, []);
    assert.ok(old.lines.withMessage("call").length >= 500 - 32);
  });

  it("lets calls under way come to their end, and refuses new ones", async () => {
    const [reached, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    await using grpc = await startGrpc({
      handlers: {
        say: async ({ text }) => {
          reached.resolve();
          await gate.promise;
          return { text };
        },
      },
    });
    const reply = grpc.client.say({ text: "x" });
    await reached.promise;
    let isDrained = false;
    const drained = grpc.server.drain({ signal: never }).then(() => (isDrained = true));
    const refused = await failureOf(grpc.client.say({}, { deadlineMs: 500 }));
    assert.ok(refused.code === status.UNAVAILABLE || refused.code === status.DEADLINE_EXCEEDED, String(refused.code));
    assert.equal(isDrained, false);
    gate.resolve();
    assert.equal((await reply).text, "x");
    await drained;
  });

  it("lets streams come to their end", async () => {
    await using grpc = await startGrpc();
    const chat = grpc.client.chat();
    chat.write({ text: "a" });
    await once(chat, "data");
    const drained = grpc.server.drain({ signal: never });
    chat.write({ text: "b" });
    const [reply] = await once(chat, "data");
    assert.equal(reply.text, "you said b");
    chat.end();
    chat.resume();
    await once(chat, "end");
    await drained;
  });

  it("ends a stream without end when its signal aborts, with a status that says why, and tells the handler", async () => {
    const told = Promise.withResolvers<unknown>();
    await using grpc = await startGrpc({
      handlers: {
        async *count(_request, { signal }) {
          yield { number: 1 };
          await new Promise((resolve) => signal.addEventListener("abort", resolve));
          told.resolve(signal.reason.code);
        },
      },
    });
    const stream = grpc.client.count({});
    const failed = once(stream, "error");
    await once(stream, "data");
    const limit = new AbortController();
    const drained = grpc.server.drain({ signal: limit.signal });
    limit.abort();
    await drained;
    const [error] = await failed;
    assert.equal(error.code, status.UNAVAILABLE);
    assert.equal(error.details, "the server stops, and the call took longer than it waits; try again elsewhere");
    assert.equal(await told.promise, "ERR_SERVER_STOPPING");
    assert.deepEqual(await grpc.reports(), []);
  });

  it("ends when the library never says that it is done", async (t) => {
    t.mock.method(Server.prototype, "tryShutdown", () => {});
    await using grpc = await startGrpc();
    const chat = grpc.client.chat();
    const failed = once(chat, "error");
    chat.write({ text: "a" });
    await once(chat, "data");
    const limit = new AbortController();
    const drained = grpc.server.drain({ signal: limit.signal });
    limit.abort();
    await drained;
    assert.equal((await failed)[0].code, status.UNAVAILABLE);
  });

  it("cuts off a caller that takes no last word", async () => {
    await using grpc = await startGrpc();
    const stream = grpc.client.count({ to: 10_000_000, padding: 50_000 });
    const failed = once(stream, "error");
    const replies = stream.iterator({ destroyOnReturn: false });
    await replies.next();
    const limit = new AbortController();
    const drained = grpc.server.drain({ signal: limit.signal });
    limit.abort();
    await drained;
    stream.resume();
    assert.ok([status.UNAVAILABLE, status.CANCELLED].includes((await failed)[0].code));
  });

  it("tells clients by GOAWAY, and calls that began before it are served", async () => {
    const gate = Promise.withResolvers<void>();
    let reached = 0;
    await using grpc = await startGrpc({
      handlers: {
        say: async ({ text }) => {
          reached++;
          await gate.promise;
          return { text };
        },
      },
    });
    const session = connect(`http://127.0.0.1:${grpc.server.port}`);
    const goaway = once(session, "goaway");
    const stream = session.request({
      ":method": "POST",
      ":path": `/${EchoService.typeName}/Say`,
      "content-type": "application/grpc",
    });
    stream.end(Buffer.alloc(5));
    const trailers = once(stream, "trailers");
    stream.resume();
    await until(() => reached === 1);
    const drained = grpc.server.drain({ signal: never });
    assert.equal((await goaway)[0], constants.NGHTTP2_NO_ERROR);
    gate.resolve();
    assert.equal((await trailers)[0]["grpc-status"], "0");
    await drained;
  });

  it("can be called twice, and either signal cuts off", async () => {
    await using grpc = await startGrpc();
    const chat = grpc.client.chat();
    chat.on("error", () => {});
    chat.write({ text: "a" });
    await once(chat, "data");
    const limit = new AbortController();
    const both = [grpc.server.drain({ signal: never }), grpc.server.drain({ signal: limit.signal })];
    limit.abort();
    await Promise.all(both);
    await grpc.server.drain({ signal: never });
  });
});

describe("a gRPC server", () => {
  it("can be closed before it listens, during a drain, and twice", async () => {
    const unused = await unlistened(0);
    assert.equal(unused.port, 0);
    await unused.close();
    await unused.close();
    await using grpc = await startGrpc();
    const chat = grpc.client.chat();
    chat.on("error", () => {});
    chat.write({ text: "a" });
    await once(chat, "data");
    const drained = grpc.server.drain({ signal: never });
    await Promise.all([grpc.server.close(), grpc.server.close()]);
    await drained;
  });

  it("names port and variable when its port is busy, whoever has it", async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    await using grpc = await startGrpc();
    for (const port of [(other.address() as { port: number }).port, grpc.server.port]) {
      const server = await unlistened(port);
      await assert.rejects(server.listen(), {
        name: "TransportError",
        code: "ERR_LISTEN_PORT_BUSY",
        message: `port ${port} on 127.0.0.1 is in use by another process; stop that, or set PLINTH_GRPC_PORT to a free port`,
      });
      await server.close();
    }
    await new Promise((resolve) => other.close(resolve));
  });

  it("tells an address that this machine does not have", async () => {
    const server = await unlistened(0, "192.0.2.1");
    await assert.rejects(server.listen(), {
      code: "ERR_LISTEN_ADDRESS",
      message: /^cannot listen on 192\.0\.2\.1:0: /,
    });
    await server.close();
  });

  it("refuses a second listen, and one after close, as an error of its own kind", async () => {
    const server = await unlistened(0);
    await server.close();
    await assert.rejects(server.listen(), { code: "ERR_LISTEN_ADDRESS" });
  });

  it("listens on IPv6", async () => {
    const server = await unlistened(0, "::1");
    await server.listen();
    assert.ok(server.port > 0);
    await server.close();
  });
});

describe("the gRPC module", () => {
  const echo = defineModule("echo", [
    provider({ provides: rpcServices, create: () => rpcService(EchoService, echoHandlers) }),
  ]);

  it("serves the services of all modules, tells the registry, and drains with the app", async () => {
    let joined: readonly { readonly protocol: string; port(): number }[] = [];
    const look = defineModule("look", [
      provider({
        provides: token("look").of<true>(),
        needs: { all: endpoints },
        create: ({ all }) => {
          joined = all;
          return true as const;
        },
        join: () => {},
      }),
    ]);
    const app = await testApp({
      name: "echo",
      modules: [coreModule, grpcModule, echo, look],
      config: { defaults: { grpc: { port: 0 } } },
    });
    assert.deepEqual(
      joined.map(({ protocol, port }) => [protocol, port()]),
      [["grpc", app.get(grpcServer).port]],
    );
    const client = new EchoClient(app.get(grpcServer).port);
    assert.equal((await client.say({ text: "x" })).text, "x");
    assert.equal(app.logged.withMessage("grpc server listens")[0]?.port, app.get(grpcServer).port);
    await app.stop();
    assert.equal((await failureOf(client.say({}, { deadlineMs: 1_000 }))).code, status.UNAVAILABLE);
    client.close();
  });

  it("refuses settings that cannot be", async () => {
    for (const given of [
      { port: -1 },
      { deadlineMs: 0 },
      { maxMessageBytes: 0 },
      { maxConcurrentStreams: 1.5 },
      { x: 1 },
    ]) {
      const result = await grpcSettings.schema["~standard"].validate(given);
      assert.equal(result.issues?.length, 1, JSON.stringify(given));
    }
    assert.deepEqual(await grpcSettings.schema["~standard"].validate({}), { value: { ...testSettings, port: 50_051 } });
  });
});

describe("rpcService", () => {
  it("refuses a contract of which a method has no handler, and names it", () => {
    const { say, count, collect } = echoHandlers;
    assert.throws(() => rpcService(EchoService, { say, count, collect } as typeof echoHandlers), {
      name: "TypeError",
      message: "plinth.transport.testing.v1.EchoService has no handler for chat",
    });
  });

  it("calls handlers as methods of the object that holds them", async () => {
    class Echo {
      readonly greeting = "hello";
      say() {
        return { text: this.greeting };
      }
      count = echoHandlers.count;
      collect = echoHandlers.collect;
      chat = echoHandlers.chat;
    }
    const handlers = new Echo();
    await using grpc = await startGrpc({
      handlers: { say: () => rpcService(EchoService, handlers).handlers.say!({}, {} as never) as never },
    });
    assert.equal((await grpc.client.say({})).text, "hello");
  });
});

async function slowSay({ text }: { readonly text: string }): Promise<{ text: string }> {
  await new Promise(setImmediate);
  return { text };
}

async function unlistened(port: number, host = "127.0.0.1"): Promise<GrpcServer> {
  return createGrpcServer({
    ...(await observe()),
    settings: { ...testSettings, host, port },
    tracing: createTracing(),
    clock: systemClock,
    health: createHealth({ clock: systemClock }),
    services: [rpcService(EchoService, echoHandlers)],
  });
}
