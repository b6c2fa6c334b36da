import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError, runInContext } from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import { startRpc } from "../../testing/rpc-clients.ts";
import type { RpcCall } from "../../rpc/service.ts";

describe("streams of a typed client", () => {
  it("come in all their kinds", async () => {
    await using rpc = await startRpc("grpc");
    const counted = await Array.fromAsync(rpc.client.count({ to: 3 }), ({ number }) => number);
    assert.deepEqual(counted, [1, 2, 3]);
    assert.equal((await rpc.client.collect(texts("a", "b", "c"))).text, "a b c");
    const chat = await Array.fromAsync(rpc.client.chat(texts("x", "y")), ({ text }) => text);
    assert.deepEqual(chat, ["you said x", "you said y"]);
  });

  it("of no messages end too", async () => {
    await using rpc = await startRpc("grpc");
    assert.deepEqual(await Array.fromAsync(rpc.client.count({ to: 0 })), []);
    assert.equal((await rpc.client.collect(texts())).text, "");
    assert.deepEqual(await Array.fromAsync(rpc.client.chat(texts())), []);
  });

  it("talk in turns: a request follows the reply to the one before", async () => {
    await using rpc = await startRpc("grpc");
    const said: string[] = [];
    const turns = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    async function* requests() {
      for (const [n, turn] of turns.entries()) {
        yield { text: String(n) };
        await turn.promise;
      }
    }
    for await (const { text } of rpc.client.chat(requests())) {
      said.push(text);
      turns[said.length - 1]?.resolve();
    }
    assert.deepEqual(said, ["you said 0", "you said 1"]);
  });

  it("are not sent before they are read", async () => {
    let calls = 0;
    await using rpc = await startRpc("grpc", {
      handlers: {
        async *count() {
          calls++;
          yield* [];
        },
      },
    });
    const unread = rpc.client.count({ to: 1 });
    await rpc.client.say({});
    assert.equal(calls, 0);
    await Array.fromAsync(unread);
    assert.equal(calls, 1);
  });

  it("are read as slowly as the caller likes: the server waits", async () => {
    let made = 0;
    await using rpc = await startRpc("grpc", {
      handlers: {
        async *count({ to }) {
          for (; made < to; made++) yield { number: made, padding: new Uint8Array(65_536) };
        },
      },
    });
    const replies = rpc.client.count({ to: 2_000 })[Symbol.asyncIterator]();
    await replies.next();
    let before = -1;
    await until(() => {
      const isStill = before === made;
      before = made;
      return isStill && made > 1;
    });
    assert.ok(made < 1_000, `${made} of 2000 were made while one was read`);
    await replies.return?.();
  });

  it("whose reader leaves are cancelled at the server", async () => {
    const reached = Promise.withResolvers<RpcCall>();
    await using rpc = await startRpc("grpc", {
      handlers: {
        async *count(_request, call) {
          reached.resolve(call);
          for (let number = 0; ; number++) {
            yield { number };
            await new Promise(setImmediate);
          }
        },
      },
    });
    for await (const { number } of rpc.client.count({ to: 1 })) if (number === 3) break;
    const call = await reached.promise;
    await until(() => call.signal.aborted);
    await rpc.channel.close({ signal: new AbortController().signal }); // nothing is under way
  });

  it("end with the error that the handler throws, after the messages before it", async () => {
    const metadata = { limit: "3" };
    await using rpc = await startRpc("grpc", {
      handlers: {
        async *count() {
          yield { number: 1 };
          throw new AppError("ERR_NOTES_ODD", "failed_precondition", "no more", { metadata });
        },
      },
    });
    const seen: number[] = [];
    const error = await failureOf(async () => {
      for await (const { number } of rpc.client.count({ to: 1 })) seen.push(number);
    });
    assert.deepEqual(seen, [1]);
    assert.deepEqual(
      [error.code, error.status, { ...error.metadata }],
      ["ERR_NOTES_ODD", "failed_precondition", metadata],
    );
  });

  for (const how of ["signal", "context", "deadline", "close"] as const) {
    it(`that stand still are ended by a ${how}`, async () => {
      const clock = new FakeClock();
      const reached = Promise.withResolvers<RpcCall>();
      await using rpc = await startRpc("grpc", {
        clock,
        handlers: {
          async *chat(requests, call) {
            reached.resolve(call);
            await requests[Symbol.asyncIterator]().next();
            yield await new Promise<never>(() => {});
          },
        },
      });
      const [caller, request] = [new AbortController(), new AbortController()];
      async function* silent() {
        yield { text: "x" };
        await new Promise(() => {});
      }
      const failed = runInContext({ signal: request.signal }, () =>
        failureOf(() => Array.fromAsync(rpc.client.chat(silent(), { signal: caller.signal, timeoutMs: 60_000 }))),
      );
      const call = await reached.promise;
      if (how === "signal") caller.abort();
      else if (how === "context") request.abort();
      else if (how === "deadline") await clock.advance(60_000);
      else await rpc.channel.close();
      const expected = { deadline: "deadline_exceeded", close: "unavailable" };
      assert.equal((await failed).status, how === "signal" || how === "context" ? "cancelled" : expected[how]);
      await until(() => call.signal.aborted);
    });
  }

  it("fail with what the caller's own messages throw, and the server is told", async () => {
    const reached = Promise.withResolvers<RpcCall>();
    await using rpc = await startRpc("grpc", {
      handlers: {
        collect: async (requests, call) => {
          reached.resolve(call);
          for await (const _ of requests);
          return { text: "all" };
        },
      },
    });
    async function* broken() {
      yield { text: "a" };
      await reached.promise;
      throw new RangeError("of my own");
    }
    await assert.rejects(rpc.client.collect(broken()), { name: "RangeError", message: "of my own" });
    const call = await reached.promise;
    await until(() => call.signal.aborted);
  });

  it("ask for no more messages when the server has answered before it read them all", async () => {
    let isLeft = false;
    await using rpc = await startRpc("grpc", { handlers: { collect: async () => ({ text: "enough" }) } });
    async function* endless() {
      try {
        for (;;) {
          yield { text: "x".repeat(10_000) };
          await new Promise(setImmediate);
        }
      } finally {
        isLeft = true;
      }
    }
    assert.equal((await rpc.client.collect(endless())).text, "enough");
    await until(() => isLeft);
  });

  it("are sent as fast as the server reads, and no faster", async () => {
    const gate = Promise.withResolvers<void>();
    let made = 0;
    await using rpc = await startRpc("grpc", {
      handlers: {
        collect: async (requests) => {
          await gate.promise;
          let count = 0;
          for await (const _ of requests) count++;
          return { text: String(count) };
        },
      },
    });
    async function* many() {
      for (; made < 500; made++) yield { text: "x".repeat(65_536) };
    }
    const reply = rpc.client.collect(many());
    let before = -1;
    await until(() => {
      const isStill = before === made;
      before = made;
      return isStill && made > 0;
    });
    assert.ok(made < 400, `${made} of 500 were made while none was read`);
    gate.resolve();
    assert.equal((await reply).text, "500");
  });

  it("have no time of their own, but that of the request that they are made for", async () => {
    const seen: number[] = [];
    await using rpc = await startRpc("grpc", {
      handlers: {
        async *count(_request, call) {
          seen.push(call.deadlineAtMs - performance.now());
          yield* [];
        },
      },
    });
    await Array.fromAsync(rpc.client.count({ to: 1 }));
    await runInContext({ deadlineAtMs: performance.now() + 5_000 }, () => Array.fromAsync(rpc.client.count({ to: 1 })));
    const [free = 0, bound = 0] = seen;
    assert.ok(free > 100_000 && bound <= 5_000, seen.join());
  });
});

async function* texts(...all: readonly string[]) {
  for (const text of all) yield { text };
}

async function failureOf(work: () => Promise<unknown>): Promise<AppError> {
  try {
    await work();
  } catch (error) {
    if (AppError.is(error)) return error;
    throw error;
  }
  throw new Error("the call succeeded");
}
