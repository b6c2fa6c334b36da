import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { describe, it, type TestContext } from "node:test";
import { LoadConnection } from "./load-connection.ts";

const request = Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
const fine = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/** Answers the n-th request by the n-th action, and tells what the connection made of it. */
async function converse(t: TestContext, actions: readonly ((socket: Socket) => void)[]) {
  const replies: string[] = [];
  const broken = Promise.withResolvers<string>();
  let requests = 0;
  const server = createServer((socket) => {
    socket.on("data", (chunk) => {
      assert.deepEqual(chunk, request, "one request at a time");
      actions[requests]?.(socket);
      requests += 1;
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const connection = new LoadConnection((server.address() as AddressInfo).port, () => request, Buffer.alloc(1_024), {
    onReply: (status, bodyBytes, latencyMs) => {
      assert.ok(latencyMs >= 0 && latencyMs < 60_000);
      replies.push(`${status} ${bodyBytes}`);
    },
    onBroken: broken.resolve,
  });
  t.after(() => connection.close());
  return { reason: await broken.promise, replies, requests };
}

describe("LoadConnection", () => {
  it("sends the next request when the last is answered, and tells when the server closes", async (t) => {
    const answer = (socket: Socket) => socket.write(fine);
    const { reason, replies, requests } = await converse(t, [answer, answer, (socket) => socket.end()]);
    assert.deepEqual(replies, ["200 2", "200 2"]);
    assert.equal(requests, 3);
    assert.equal(reason, "connection closed by the server");
  });

  it("is broken by what is no reply, and sends no more", async (t) => {
    const { reason, replies, requests } = await converse(t, [(socket) => socket.write("SSH-2.0-x\r\n\r\n")]);
    assert.deepEqual([replies, requests], [[], 1]);
    assert.match(reason, /^not an HTTP\/1.1 reply/);
  });

  it("tells a reset", async (t) => {
    const { reason } = await converse(t, [(socket) => socket.resetAndDestroy()]);
    assert.match(reason, /ECONNRESET/);
  });

  it("tells that nothing listens", async (t) => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, "close");
    const broken = Promise.withResolvers<string>();
    const events = { onReply: () => assert.fail("no reply can come"), onBroken: broken.resolve };
    const connection = new LoadConnection(port, () => request, Buffer.alloc(1_024), events);
    t.after(() => connection.close());
    assert.match(await broken.promise, /ECONNREFUSED/);
  });
});
