import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { afterEach, beforeEach, describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { createHttp1Upstream } from "./http1.ts";
import type { Upstream } from "./upstream.ts";

describe("a connection to an instance", () => {
  const clock = new FakeClock();
  let server: Server;
  let upstream: Upstream;
  let connections = 0;
  let keepAlive: string | undefined;
  /** Runs when a request has come and its reply has not. */
  let beforeReply: () => Promise<void>;

  beforeEach(async () => {
    connections = 0;
    keepAlive = undefined;
    beforeReply = async () => {};
    server = createServer({ keepAliveTimeout: 0 }, (_request, response) => {
      void beforeReply().then(() => {
        if (keepAlive !== undefined) response.setHeader("keep-alive", keepAlive);
        response.end("fine");
      });
    });
    server.on("connection", () => connections++);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    assert.ok(typeof address === "object" && address !== null);
    upstream = createHttp1Upstream({
      authority: `127.0.0.1:${address.port}`,
      connectTimeoutMs: 10_000,
      headersTimeoutMs: 10_000,
      bodyGapMs: 10_000,
      maxConnections: 10,
      clock,
    });
  });

  afterEach(async () => {
    upstream.destroy();
    server.closeAllConnections();
    server.close();
  });

  function get(): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    let status = 0;
    upstream.send(
      { method: "GET", target: "/", headers: ["host", "a"], body: null },
      {
        onHead: (given) => (status = given),
        onUpgrade: (_headers, socket) => socket.destroy(),
        onData: () => true,
        onEnd: () => resolve(status),
        onFailure: ({ kind, cause }) => reject(new Error(kind, { cause })),
      },
    );
    return promise;
  }

  it("is used again within four seconds", async () => {
    assert.equal(await get(), 200);
    await clock.advance(4_000);
    assert.equal(await get(), 200);
    assert.deepEqual([connections, upstream.connections], [1, 1]);
  });

  it("is not used again when it has stood idle for longer, though nobody has seen it end", async () => {
    assert.equal(await get(), 200);
    await clock.advance(4_001);
    assert.equal(await get(), 200);
    assert.deepEqual([connections, upstream.connections], [2, 1]);
  });

  it("is not kept when its reply has come so late that it may have been closed behind it", async () => {
    beforeReply = () => clock.advance(4_001);
    assert.equal(await get(), 200);
    beforeReply = async () => {};
    assert.equal(await get(), 200);
    assert.deepEqual([connections, upstream.connections], [2, 1]);
  });

  it("is kept for as long as the instance announces, less a second, if that is less", async () => {
    keepAlive = "timeout=3";
    assert.equal(await get(), 200);
    await clock.advance(2_000);
    assert.equal(await get(), 200);
    assert.equal(connections, 1);
    await clock.advance(2_001);
    assert.equal(await get(), 200);
    assert.equal(connections, 2);
  });
});
