import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:http2";
import { describe, it } from "node:test";
import { status } from "@grpc/grpc-js";
import { FakeClock, until } from "@plinth/kernel/testing";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { startGrpc } from "../testing/grpc.ts";
import { failureOf } from "../testing/grpc-client.ts";

const settings = { idleTimeoutMs: 1_000, deadlineMs: 3_600_000 };

/** Lets the time pass in which a call that stands still is ended, and what moves move. */
async function pass(clock: FakeClock): Promise<void> {
  for (let look = 0; look < 6; look++) {
    await clock.advance(250);
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
  }
}

describe("a call whose caller stands still", () => {
  it("and sends no message that the handler waits for is ended, as nobody's error", async () => {
    const clock = new FakeClock();
    const told = Promise.withResolvers<unknown>();
    await using grpc = await startGrpc({
      clock,
      settings,
      handlers: {
        async collect(requests, { signal }) {
          signal.addEventListener("abort", () => told.resolve(signal.reason.code));
          for await (const _ of requests);
          return {};
        },
      },
    });
    const { call, reply } = grpc.client.collect();
    call.write({ text: "a" });
    const failed = failureOf(reply);
    await until(() => clock.pending > 1);
    await pass(clock);
    const failure = await failed;
    assert.deepEqual([failure.code, failure.info?.reason], [status.DEADLINE_EXCEEDED, "ERR_STREAM_IDLE"]);
    assert.equal(failure.message, "no message came for 1000 ms or longer");
    assert.equal(await told.promise, "ERR_STREAM_IDLE");
    assert.deepEqual(await grpc.reports(), []);
  });

  it("and never sends its only message is ended", async () => {
    const clock = new FakeClock();
    await using grpc = await startGrpc({ clock, settings });
    const session = connect(`http://127.0.0.1:${grpc.server.port}`);
    const stream = session.request(
      { ":method": "POST", ":path": `/${EchoService.typeName}/Count`, "content-type": "application/grpc" },
      { endStream: false },
    );
    const answered = once(stream, "response");
    await once(session, "remoteSettings");
    for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
    await pass(clock);
    const [headers] = await answered;
    assert.equal(headers["grpc-status"], String(status.DEADLINE_EXCEEDED));
    session.destroy();
  });

  it("and reads no replies is reset, and its handler told, also when the handler has ended", async () => {
    for (const to of [10_000_000, 20]) {
      const clock = new FakeClock();
      await using grpc = await startGrpc({ clock, settings });
      const stream = grpc.client.count({ to, padding: 50_000 });
      const failed = once(stream, "error");
      const replies = stream.iterator({ destroyOnReturn: false });
      await replies.next();
      for (let turn = 0; turn < 500; turn++) await new Promise(setImmediate);
      await pass(clock);
      stream.resume();
      const [error] = await failed;
      assert.equal(error.code, status.CANCELLED, `${to}`);
      await until(() => grpc.lines.withMessage("call").length === 1);
      assert.deepEqual(await grpc.reports(), []);
    }
  });

  it("is left alone while its handler works, or does not ask for more", async () => {
    const clock = new FakeClock();
    const [reached, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    await using grpc = await startGrpc({
      clock,
      settings,
      handlers: {
        async *count() {
          yield { number: 1 };
          reached.resolve();
          await gate.promise;
          yield { number: 2 };
        },
        async *chat() {
          await gate.promise;
          yield { text: "done" };
        },
      },
    });
    const numbers = grpc.client.count({}).toArray();
    const chat = grpc.client.chat();
    const texts = chat.toArray();
    await reached.promise;
    await pass(clock);
    await pass(clock);
    gate.resolve();
    assert.deepEqual(
      (await numbers).map(({ number }) => number),
      [1, 2],
    );
    assert.equal((await texts).length, 1);
    chat.end();
  });

  it("is left alone while something moves, and for ever where the limit is off", async () => {
    for (const idleTimeoutMs of [1_000, 0]) {
      const clock = new FakeClock();
      await using grpc = await startGrpc({ clock, settings: { ...settings, idleTimeoutMs } });
      const chat = grpc.client.chat();
      for (let message = 0; message < 8; message++) {
        chat.write({ text: "a" });
        await once(chat, "data");
        await clock.advance(idleTimeoutMs === 0 ? 100_000 : 500);
      }
      chat.end();
      chat.resume();
      await once(chat, "end");
    }
  });
});
