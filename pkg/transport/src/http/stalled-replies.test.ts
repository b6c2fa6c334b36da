import assert from "node:assert/strict";
import { once } from "node:events";
import { PassThrough } from "node:stream";
import { describe, it } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { until } from "@plinth/kernel/testing";
import { startOpsServer } from "../ops/server.ts";
import { observe, parseReply, RawConnection, startHttp, type TestHttp } from "../testing/http.ts";

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/** More than the buffers of two sockets hold. */
const large = Buffer.alloc(30_000_000, "x");
const idleTimeoutMs = 200;
/** Longer than it takes to notice. */
const severalMs = 3 * idleTimeoutMs;

/** Sends a request, and reads nothing of what comes back. */
function stall({ connect }: Pick<TestHttp, "connect">): RawConnection {
  const connection = connect();
  connection.socket.pause();
  connection.write(get);
  return connection;
}

const statuses = ({ lines }: TestHttp): unknown[] => lines.withMessage("request").map(({ status }) => status);

describe("a reply that nobody reads", () => {
  it("is broken off after idleTimeoutMs, as for a caller that has gone", async () => {
    await using http = await startHttp({
      settings: { idleTimeoutMs },
      routes: (app) => void app.get("/", async () => large),
    });
    const connection = stall(http);
    await until(() => statuses(http).length > 0);
    assert.deepEqual([statuses(http), await http.reports()], [[499], []]);
    assert.match((await http.metrics.expose()).body, /^http_server_active_requests 0$/m);
    connection.socket.resume();
    assert.ok((await connection.ended).length < large.length);
  });

  it("is broken off when its handler has worked, or its stream was silent, for longer than that before", async () => {
    const source = new PassThrough();
    await using http = await startHttp({
      settings: { idleTimeoutMs },
      routes: (app) => void app.get("/", async (_request, reply) => reply.type("text/plain").send(source)),
    });
    const connection = stall(http);
    source.write("part");
    await wait(severalMs);
    assert.deepEqual(statuses(http), []);
    source.write(large);
    await until(() => source.destroyed);
    await until(() => statuses(http).length > 0);
    assert.deepEqual(statuses(http), [499]);
    connection.destroy();
  });

  it("is kept for ever where idleTimeoutMs is 0", async () => {
    await using http = await startHttp({
      settings: { idleTimeoutMs: 0 },
      routes: (app) => void app.get("/", async () => large),
    });
    const connection = stall(http);
    await wait(severalMs);
    connection.socket.resume();
    await until(() => statuses(http).length > 0);
    assert.deepEqual(statuses(http), [200]);
    connection.destroy();
  });

  it("is broken off on the ops listener too", async () => {
    const { errors } = await observe();
    let isWhole: boolean | undefined;
    const server = await startOpsServer({
      handler(_request, response) {
        response.on("close", () => (isWhole = response.writableFinished));
        return response.end(large) === response;
      },
      errors,
      host: "127.0.0.1",
      port: 0,
      variable: "PORT",
      idleTimeoutMs,
    });
    const connection = stall({ connect: () => new RawConnection(server.port) });
    await until(() => isWhole !== undefined);
    assert.equal(isWhole, false);
    connection.destroy();
    await server.close();
  });
});

describe("what takes longer than idleTimeoutMs is left alone", () => {
  it("where the handler works on its reply", async () => {
    await using http = await startHttp({
      settings: { idleTimeoutMs },
      routes: (app) => void app.get("/", () => wait(severalMs, "x")),
    });
    assert.equal(await (await http.fetch("/")).text(), "x");
  });

  it("where the reply is read slowly", async () => {
    await using http = await startHttp({
      settings: { idleTimeoutMs },
      routes: (app) => void app.get("/", async (_request, reply) => reply.header("connection", "close").send(large)),
    });
    const { socket, ended } = stall(http);
    let read = 0;
    socket.on("data", (text: string) => {
      read += text.length;
      if (read < 2_000_000) return;
      read = 0;
      socket.pause();
    });
    const startedAtMs = performance.now();
    while (!socket.closed) {
      socket.resume();
      await wait(idleTimeoutMs / 4);
    }
    assert.ok(performance.now() - startedAtMs > severalMs);
    assert.equal(parseReply(await ended).body.length, large.length);
  });

  it("where the connection was upgraded, even though nobody reads it", async () => {
    await using http = await startHttp({
      settings: { idleTimeoutMs },
      routes: (app) =>
        void app.server.on("upgrade", (_request, socket) => {
          socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n");
          socket.end(large);
        }),
    });
    const connection = http.connect();
    connection.socket.pause();
    connection.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n");
    await wait(severalMs);
    connection.socket.resume();
    assert.equal(parseReply(await connection.ended).body.length, large.length);
  });
});

describe("beside idleTimeoutMs", () => {
  it("an idle connection is still ended by keepAliveTimeoutMs", async () => {
    await using http = await startHttp({
      settings: { idleTimeoutMs: 60_000, keepAliveTimeoutMs: 1 },
      routes: (app) => void app.get("/", async () => "x"),
    });
    const connection = http.connect();
    connection.write(get);
    assert.match(await connection.ended, /\r\n\r\nx$/); // node adds a second
  });

  it("a limit that a handler sets for its own reply holds, and ends nothing where the handler listens for it", async () => {
    await using http = await startHttp({
      settings: { idleTimeoutMs: 60_000 },
      routes: (app) => {
        app.get("/ends", async (_request, reply) => {
          reply.raw.setTimeout(50);
          await once(reply.raw, "close");
        });
        app.get("/answers", async (_request, reply) => {
          await new Promise<void>((resolve) => reply.raw.setTimeout(50, () => resolve()));
          return "late";
        });
      },
    });
    await assert.rejects(http.fetch("/ends"));
    assert.equal(await (await http.fetch("/answers")).text(), "late");
  });
});
