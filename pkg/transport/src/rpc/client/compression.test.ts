import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { describe, it } from "node:test";
import { rpcWires, startRpc } from "../../testing/rpc-clients.ts";
import { EchoService } from "../../gen/plinth/transport/testing/v1/echo_pb.ts";
import { createGrpcChannel } from "../../grpc/client/channel.ts";
import type { RpcChannel } from "./channel.ts";
import { createRpcClient } from "./client.ts";
import { createConnectChannel } from "./connect-channel.ts";

const large = "many words ".repeat(10_000);
const fromBytes = 1_000;

/** Counts what is sent to a server. */
async function startMeter(port: number) {
  let bytes = 0;
  const server = createServer((client) => {
    const upstream = connect(port, "127.0.0.1");
    client.on("data", (data) => (bytes += data.length));
    client.pipe(upstream).pipe(client);
    for (const socket of [client, upstream]) socket.on("error", () => {});
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return {
    address: `127.0.0.1:${address.port}`,
    since: () => {
      const counted = bytes;
      bytes = 0;
      return counted;
    },
    [Symbol.asyncDispose]: async () => void server.close(),
  };
}

for (const wire of rpcWires) {
  describe(`a client over ${wire} that compresses large messages`, () => {
    async function start(gzipFromBytes: number, maxRequestBytes = 20_000_000) {
      const rpc = await startRpc(wire);
      const meter = await startMeter(Number(rpc.address.split(":")[1]));
      const own = { peer: "echo", gzipFromBytes, maxRequestBytes };
      const channel: RpcChannel =
        wire === "grpc"
          ? await createGrpcChannel({ ...own, address: meter.address })
          : await createConnectChannel({
              ...own,
              url: `http://${meter.address}`,
              codec: wire === "connect-json" ? "json" : "proto",
            });
      return {
        client: createRpcClient(EchoService, { channel, timeoutMs: 60_000 }),
        since: meter.since,
        async [Symbol.asyncDispose]() {
          await channel.close();
          await meter[Symbol.asyncDispose]();
          await rpc[Symbol.asyncDispose]();
        },
      };
    }

    it("sends those compressed, and the others as they are", async () => {
      await using rpc = await start(fromBytes);
      assert.equal((await rpc.client.say({ text: large })).text, large);
      assert.ok(rpc.since() < large.length / 10);
      const small = large.slice(0, fromBytes - 100);
      assert.equal((await rpc.client.say({ text: small })).text, small);
      assert.ok(rpc.since() > small.length);
    });

    it("compresses nothing unless it is told to", async () => {
      await using rpc = await start(Infinity);
      assert.equal((await rpc.client.say({ text: large })).text, large);
      assert.ok(rpc.since() > large.length);
    });

    it("sends no message that is too large without compression", async () => {
      await using rpc = await start(fromBytes, 50_000);
      await assert.rejects(rpc.client.say({ text: large }), { code: "ERR_RPC_REQUEST", status: "resource_exhausted" });
      assert.ok(rpc.since() < fromBytes);
    });

    it("is refused where a message is more than the server takes once it is inflated", async () => {
      await using rpc = await start(fromBytes);
      const failing = rpc.client.say({ text: "x".repeat(5_000_000) });
      await assert.rejects(failing, { code: "ERR_REQUEST_TOO_LARGE", status: "resource_exhausted" });
      assert.equal((await rpc.client.say({ text: "x" })).text, "x");
    });
  });
}

it("a threshold that is none is refused", async () => {
  for (const gzipFromBytes of [0, -1, NaN]) {
    const refused = { code: "ERR_OPTION_RANGE", message: /^gzipFromBytes / };
    await assert.rejects(createGrpcChannel({ peer: "x", address: "127.0.0.1:1", gzipFromBytes }), refused);
    await assert.rejects(createConnectChannel({ peer: "x", url: "http://127.0.0.1:1", gzipFromBytes }), refused);
  }
});

describe("a gRPC stream of messages", () => {
  it("has the large ones compressed", async () => {
    await using rpc = await startRpc("grpc", { grpc: { gzipFromBytes: fromBytes } });
    const texts = ["x", large, "y", large];
    const sent = async function* () {
      for (const text of texts) yield { text };
    };
    const replies = await Array.fromAsync(rpc.client.chat(sent()));
    assert.deepEqual(
      replies.map(({ text }) => text),
      texts.map((text) => `you said ${text}`),
    );
  });
});
