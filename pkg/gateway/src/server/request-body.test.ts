import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:net";
import { PassThrough } from "node:stream";
import { describe, it } from "node:test";
import { setImmediate } from "node:timers/promises";
import { until } from "@plinth/kernel/testing";
import { BodyWriter } from "../upstream/http1-body.ts";
import { RequestBody } from "./request-body.ts";

const most = 512 * 1024;
const sent = 16 * 1024 * 1024;

describe("a body that its service does not take", () => {
  for (const piece of [100, 16_384, 200_000]) {
    it(`holds no more than ${most} bytes here, however fast its client sends, in chunks of ${piece}`, async () => {
      let held: (() => number) | undefined;
      const server = createServer((request) => {
        const body = new RequestBody({
          request,
          maxBytes: Infinity,
          onStart: () => undefined,
          onRefused: () => assert.fail("it is refused"),
          slow: { began: () => undefined, ended: () => undefined },
          mayRest: undefined,
          longestRestMs: 1_000,
        });
        // Takes what a socket does whose peer reads nothing: what is written stays in it.
        const socket = new PassThrough({ highWaterMark: 65_536, readableHighWaterMark: 1 });
        const writer = new BodyWriter({
          socket,
          head: { text: "POST / HTTP/1.1\r\n\r\n", bodyLength: undefined },
          body,
          trailers: undefined,
          onWritten: () => undefined,
          onFailed: () => undefined,
        });
        request.on("close", () => writer.stop());
        // All that has been taken from the parser: nothing of it has left.
        held = () => body.bytes + request.readableLength;
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      const address = server.address();
      assert.ok(typeof address === "object" && address !== null);
      const client = connect(address.port, "127.0.0.1");
      client.on("error", () => undefined);
      client.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
      const chunk = `${piece.toString(16)}\r\n${"x".repeat(piece)}\r\n`;
      client.write(chunk.repeat(sent / piece));
      await until(() => held !== undefined && held() > 65_536);
      let before = -1;
      for (let same = 0; same < 20;) {
        await setImmediate();
        const now = held?.() ?? 0;
        same = now === before ? same + 1 : 0;
        before = now;
      }
      assert.ok(before > 65_536 && before <= most, `${before} bytes are held`);
      client.destroy();
      server.closeAllConnections();
      server.close();
    });
  }
});
