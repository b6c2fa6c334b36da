import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Stream, connect } from "node:http2";
import { describe, it } from "node:test";
import { FakeClock, until } from "@plinth/kernel/testing";
import { httpInstance, startGateway } from "../testing/kit.ts";

/** Takes a few bytes at a time: what it reads is given back to the window. */
async function sip(stream: ClientHttp2Stream): Promise<void> {
  stream.read(1);
  await new Promise(setImmediate);
}

for (const [bytes, what] of [
  [8_000_000, "more than is held for it"],
  [200_000, "what is given to it whole"],
] as const) {
  describe(`a reply over HTTP/2 that is taken by the byte, ${what}`, () => {
    it("is broken off, with the reason, and another stream of the connection is not", async () => {
      const clock = new FakeClock();
      await using instance = await httpInstance((request, response) => {
        response.on("error", () => undefined).end(request.url === "/quick" ? "quick" : Buffer.alloc(bytes));
      });
      await using running = await startGateway({
        clock,
        settings: {
          http2: { cleartext: true },
          idleTimeoutMs: 3_600_000,
          minReplyRateBytesPerS: 10_000,
        },
      });
      await running.add(instance);
      const session = connect(running.url);
      session.on("error", () => undefined);
      const slow = session.request({ ":path": "/slow" });
      slow.on("error", () => undefined).pause();
      await once(slow, "response");
      for (let second = 0; second < 40 && !slow.closed; second++) {
        await sip(slow);
        await clock.advance(1_000);
      }
      await until(async () => /gateway_slow_clients_total\{at="reply"\} 1/.test(await running.metrics()) || undefined);
      const quick = session.request({ ":path": "/quick" });
      let text = "";
      quick.on("data", (chunk: Buffer) => (text += chunk.toString()));
      await once(quick, "end");
      assert.equal(text, "quick");
      const lines = await running.lines(2);
      assert.deepEqual(new Set(lines.map(({ reason }) => reason)), new Set(["reply_untaken", undefined]));
      session.destroy();
      assert.deepEqual(running.reports, []);
    });
  });
}
