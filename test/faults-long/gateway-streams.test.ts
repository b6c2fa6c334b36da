// Much goes through the gateway, to and from those that are slower than what they talk to: its memory stays as it is.
import assert from "node:assert/strict";
import { once } from "node:events";
import { request, type IncomingMessage, type ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { describe } from "node:test";
import {
  httpInstance,
  openRoute,
  socketInstance,
  startGateway,
  type TestGateway,
} from "../../pkg/gateway/src/testing/kit.ts";
import { faultTest } from "../support/fault-row.ts";

/** A body's part, and a whole frame of a WebSocket. */
const piece = Buffer.alloc(65_536);
piece.set([0x82, 126, 0xff, 0xfc]);
const totalBytes = 200 * 1024 * 1024;
const pieces = totalBytes / piece.length;
/** Of the whole process, which is client, gateway and instance at once. */
const maxGrowthBytes = 64 * 1024 * 1024;

/** As fast as it is taken. */
async function pour(to: Writable, count = pieces): Promise<void> {
  for (let sent = 0; sent < count; sent++) if (!to.write(piece)) await once(to, "drain");
}

/** With a pause after each 4 MiB, so that the other side has to wait. */
async function drink(from: Readable): Promise<number> {
  let bytes = 0;
  let sincePause = 0;
  from.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    sincePause += chunk.length;
    if (sincePause < 4 * 1024 * 1024) return;
    sincePause = 0;
    from.pause();
    setTimeout(() => from.resume(), 20);
  });
  await once(from, "end");
  return bytes;
}

/** Largest resident memory beyond what was in use before, while `work` runs. */
async function growthOf(work: () => Promise<void>): Promise<number> {
  const before = process.memoryUsage.rss();
  let most = before;
  const timer = setInterval(() => (most = Math.max(most, process.memoryUsage.rss())), 10);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return most - before;
}

async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  if (incoming.method === "POST") {
    response.end(String(await drink(incoming)));
    return;
  }
  await pour(response);
  response.end();
}

async function upload({ url }: TestGateway, count = pieces): Promise<number> {
  const sent = request(url, { method: "POST" });
  const answered = once(sent, "response");
  await pour(sent, count);
  sent.end();
  const [reply] = (await answered) as [IncomingMessage];
  let text = "";
  for await (const chunk of reply) text += String(chunk);
  return Number(text);
}

async function download({ url }: TestGateway): Promise<number> {
  const [reply] = (await once(request(url).end(), "response")) as [IncomingMessage];
  return drink(reply);
}

/** Opens a WebSocket; what is sent in it are bytes, since the gateway passes them as they are. */
async function tunnel({ gateway }: TestGateway): Promise<Socket> {
  const socket = connect({ port: gateway.port, host: "127.0.0.1", allowHalfOpen: true });
  socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  const [head] = (await once(socket, "data")) as [Buffer];
  assert.match(head.toString("latin1"), /^HTTP\/1\.1 101 [^]*\r\n\r\n$/);
  return socket;
}

describe("200 MiB through the gateway", () => {
  for (const [done, route] of [
    ["up", "upload"],
    ["down", "download"],
    ["up and down at once", "both"],
  ] as const) {
    faultTest(
      {
        fault: "9 large bodies, slow readers",
        done: `200 MiB ${done}`,
        expected: "whole, less than 64 MiB more memory",
      },
      async (witness) => {
        await using instance = await httpInstance((incoming, response) => void serve(incoming, response));
        await using running = await startGateway({ routes: [openRoute({ timeoutMs: 0, maxBodyBytes: totalBytes })] });
        await running.add(instance);
        const ways = route === "upload" ? [upload] : route === "download" ? [download] : [upload, download];
        await upload(running, 800); // what is compiled and loaded at first is not counted
        let got: number[] = [];
        const growth = await growthOf(async () => {
          got = await Promise.all(ways.map((way) => way(running)));
        });
        witness.saw(`${Math.round(growth / 1024 / 1024)} MiB more at most`);
        assert.deepEqual(
          got,
          ways.map(() => totalBytes),
        );
        assert.ok(growth < maxGrowthBytes, `${growth} bytes more`);
      },
    );
  }

  faultTest(
    {
      fault: "9 large bodies, slow readers",
      done: "200 MiB each way in a WebSocket",
      expected: "whole, less than 64 MiB more memory",
    },
    async (witness) => {
      const received = Promise.withResolvers<number>();
      await using instance = await socketInstance((socket) => {
        socket.once("data", () => {
          socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
          socket.once("data", () => void pour(socket));
          received.resolve(drink(socket));
        });
      });
      await using running = await startGateway({ routes: [openRoute({ websocket: true })] });
      await running.add(instance);
      const socket = await tunnel(running);
      let bytes = 0;
      const whole = Promise.withResolvers<void>();
      const growth = await growthOf(async () => {
        socket.on("data", (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes === totalBytes) whole.resolve();
        });
        await Promise.all([pour(socket), whole.promise]);
        socket.end();
        assert.equal(await received.promise, totalBytes);
      });
      witness.saw(`${Math.round(growth / 1024 / 1024)} MiB more at most`);
      assert.equal(bytes, totalBytes);
      assert.ok(growth < maxGrowthBytes, `${growth} bytes more`);
    },
  );
});
