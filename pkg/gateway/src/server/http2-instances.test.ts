import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Http2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import { describe, it } from "node:test";
import { systemClock } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import { openRoute, startGateway } from "../testing/kit.ts";
import { createHttp2Upstream } from "../upstream/http2.ts";

/** A gateway before one instance that speaks HTTP/2. */
async function started(onStream: (stream: ServerHttp2Stream) => void) {
  const sockets = new Set<Socket>();
  const server = createServer();
  server.on("connection", (socket: Socket) => sockets.add(socket.on("error", () => undefined)));
  server.on("stream", (stream: ServerHttp2Stream) => {
    stream.on("error", () => undefined);
    onStream(stream);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const kit = await startGateway({ document: { routes: [openRoute()], services: { s: { protocol: "http2" } } } });
  await kit.add({ port: address.port });
  return {
    kit,
    port: address.port,
    [Symbol.asyncDispose]: async () => {
      await kit[Symbol.asyncDispose]();
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

describe("an instance that speaks HTTP/2", { timeout: 20_000 }, () => {
  it("has answered when all of its reply's length is there, though its stream ends later", async () => {
    const codes: number[] = [];
    let end = (): void => {};
    await using running = await started((stream) => {
      stream.on("close", () => codes.push(stream.rstCode));
      stream.respond({ ":status": 200, "content-length": "2" });
      stream.write("ok");
      end = () => void stream.end();
    });
    const { kit } = running;
    assert.equal(await (await fetch(kit.url)).text(), "ok");
    await kit.lastLine();
    assert.match(await kit.metrics(), /gateway_upstream_attempts_total\{service="s",outcome="reply"\} 1/);
    end();
    await until(() => codes.length === 1);
    assert.deepEqual(codes, [0], "its stream was not reset");
  });

  it("has its stream closed when nobody takes a reply that has come whole", async () => {
    const whole = Promise.withResolvers<void>();
    let session: Http2Session | undefined;
    await using running = await started((stream) => {
      ({ session } = stream);
      stream.respond({ ":status": 200 });
      stream.end(Buffer.alloc(100_000), () => whole.resolve());
    });
    const upstream = createHttp2Upstream({
      authority: `127.0.0.1:${running.port}`,
      connectTimeoutMs: 5_000,
      headersTimeoutMs: 5_000,
      bodyGapMs: 5_000,
      maxConnections: 1,
      clock: systemClock,
    });
    const held = Promise.withResolvers<void>();
    const call = upstream.send(
      { method: "GET", target: "/", headers: ["host", "a"], body: null },
      {
        onHead: () => undefined,
        onUpgrade: () => undefined,
        onData: () => (held.resolve(), false),
        onEnd: () => undefined,
        onFailure: () => undefined,
      },
    );
    await Promise.all([held.promise, whole.promise]);
    await new Promise((resolve) => void session?.ping(resolve)); // what was sent before has come by then
    call.abort();
    await upstream.close();
    assert.equal(upstream.connections, 0);
  });

  it("that answers, and never reads the body, keeps no stream open", async () => {
    let open = 0;
    await using running = await started((stream) => {
      open++;
      stream.on("close", () => open--);
      stream.pause();
      stream.respond({ ":status": 200 });
      stream.end("early");
    });
    const reply = await fetch(running.kit.url, { method: "POST", body: Buffer.alloc(300_000) });
    assert.equal(await reply.text(), "early");
    await until(() => open === 0, { what: "the end of the stream" });
  });
});
