import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { describe, it } from "node:test";
import { AppError, createMetrics, isServerFault, runInContext, statuses } from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import { RequestError } from "../../errors.ts";
import { EchoService } from "../../gen/plinth/transport/testing/v1/echo_pb.ts";
import { createGrpcChannel } from "../../grpc/client/channel.ts";
import { rpcWires, startRpc } from "../../testing/rpc-clients.ts";
import type { RpcCall } from "../service.ts";
import { createRpcClient } from "./client.ts";
import { createConnectChannel } from "./connect-channel.ts";
import { RpcError } from "./errors.ts";

const never = (): Promise<never> => new Promise(() => {});

for (const wire of rpcWires) {
  describe(`a typed client over ${wire}`, () => {
    it("calls a method", async () => {
      await using rpc = await startRpc(wire);
      const reply = await rpc.client.say({ text: "hé", big: 2n ** 62n, data: Uint8Array.of(0, 255) });
      assert.deepEqual([reply.text, reply.big, [...reply.data]], ["hé", 2n ** 62n, [0, 255]]);
    });

    it("makes many calls at once, each with its own reply", async () => {
      await using rpc = await startRpc(wire);
      const replies = await Promise.all(Array.from({ length: 200 }, (_, n) => rpc.client.say({ text: String(n) })));
      assert.deepEqual(
        replies.map(({ text }) => text),
        Array.from({ length: 200 }, (_, n) => String(n)),
      );
    });

    it("sends metadata, and is told what came ahead of the reply and after it", async () => {
      await using rpc = await startRpc(wire, {
        handlers: {
          say: (_request, call) => {
            call.setReplyHeader("x-leading", call.header("x-given") ?? "none");
            call.setReplyTrailer("x-trailing", "after");
            return {};
          },
        },
      });
      const told: unknown[] = [];
      await rpc.client.say(
        {},
        {
          headers: { "x-given": "yes" },
          onHeaders: (headers) => told.push(headers["x-leading"]),
          onTrailers: (trailers) => told.push(trailers["x-trailing"]),
        },
      );
      assert.deepEqual(told, ["yes", "after"]);
    });

    it("carries binary metadata as base64, both ways", async () => {
      const given = Buffer.from([0, 1, 254, 255]).toString("base64");
      await using rpc = await startRpc(wire, {
        handlers: {
          say: (_request, call) => {
            call.setReplyHeader("x-back-bin", call.header("x-given-bin") ?? "");
            return {};
          },
        },
      });
      let back: string | undefined;
      await rpc.client.say(
        {},
        { headers: { "x-given-bin": given }, onHeaders: (headers) => void (back = headers["x-back-bin"]) },
      );
      assert.equal(back, given);
    });

    for (const name of ["grpc-timeout", "connect-timeout-ms", "content-type", "Host", "x y", ":path", "trailer-x"]) {
      it(`does not send the header ${name} of a caller`, async () => {
        await using rpc = await startRpc(wire);
        await assert.rejects(rpc.client.say({}, { headers: { [name]: "1" } }), { code: "ERR_RPC_REQUEST" });
      });
    }

    it("does not send a header's value that breaks out of its line", async () => {
      await using rpc = await startRpc(wire);
      await assert.rejects(rpc.client.say({}, { headers: { "x-a": "1\r\nx-b: 2" } }), { code: "ERR_RPC_REQUEST" });
    });

    for (const value of ["ü", "a\tb", "\u0000"]) {
      it(`sends no header whose value is ${JSON.stringify(value)}: not every wire has room for it`, async () => {
        await using rpc = await startRpc(wire);
        await assert.rejects(rpc.client.say({}, { headers: { "x-a": value } }), { code: "ERR_RPC_REQUEST" });
      });
    }

    it("sends no more headers than servers take", async () => {
      await using rpc = await startRpc(wire);
      const many = Object.fromEntries(Array.from({ length: 65 }, (_, index) => [`x-${index}`, ""]));
      for (const headers of [many, { "x-a": "a".repeat(16_384) }])
        await assert.rejects(rpc.client.say({}, { headers }), { code: "ERR_RPC_REQUEST", message: /64.*16384/ });
    });

    for (const listener of ["onHeaders", "onTrailers"]) {
      it(`fails with what its ${listener} throws, and the process does not`, { timeout: 10_000 }, async () => {
        await using rpc = await startRpc(wire);
        const thrown = new Error("of the listener");
        const listening = {
          [listener]: () => {
            throw thrown;
          },
        };
        await assert.rejects(rpc.client.say({}, listening), thrown);
        await assert.rejects(Array.fromAsync(rpc.client.count({ to: 2 }, listening)), thrown);
      });
    }

    it("refuses what is no message of the method", async () => {
      await using rpc = await startRpc(wire);
      const code = wire === "connect-json" ? "ERR_REQUEST_BODY" : "ERR_RPC_REQUEST"; // JSON has room for any number
      await assert.rejects(rpc.client.say({ big: 2n ** 80n }), { code });
    });

    for (const status of statuses) {
      it(`gets an error of ${status} back as it was thrown, as far as callers may know`, async () => {
        for (const retryable of [true, false]) {
          const thrown = new AppError("ERR_NOTES_ODD", status, "ödd £", {
            metadata: { limit: "50", ü: "ß" },
            retryable,
          });
          await using rpc = await startRpc(wire, { handlers: { say: () => fail(thrown) } });
          const error = await failureOf(rpc.client.say({}));
          const hidden = isServerFault(status);
          assert.deepEqual(
            [error.status, error.code, error.retryable, { ...error.metadata }],
            hidden
              ? [status, "ERR_INTERNAL", retryable, {}]
              : [status, "ERR_NOTES_ODD", retryable, { limit: "50", ü: "ß" }],
          );
          if (hidden) assert.doesNotMatch(error.message, /ödd/);
          else assert.equal(error.message, "ödd £");
          assert.ok(error instanceof RpcError);
          assert.deepEqual([error.peer, error.method, error.isUnsent], ["echo", `${EchoService.typeName}/Say`, false]);
        }
      });
    }

    it("gets the faults of fields back", async () => {
      const faults = [
        { pointer: "/text", detail: "is empty" },
        { pointer: "/big", detail: "is odd" },
      ];
      await using rpc = await startRpc(wire, { handlers: { say: () => fail(new RequestError(faults)) } });
      const error = await failureOf(rpc.client.say({}));
      assert.ok(error instanceof RequestError);
      assert.deepEqual([error.status, error.faults], ["invalid_argument", faults]);
    });

    it("gives a call two seconds, and tells the server how long it waits", async () => {
      const clock = new FakeClock();
      const { reached, handlers } = silent();
      await using rpc = await startRpc(wire, { handlers, clock });
      const failed = failureOf(rpc.client.say({}));
      const call = await reached.promise;
      const leftMs = call.deadlineAtMs - performance.now();
      assert.ok(leftMs > 0 && leftMs <= 2_000, String(leftMs));
      await clock.advance(2_000);
      const error = await failed;
      assert.deepEqual([error.code, error.status], ["ERR_DEADLINE_EXCEEDED", "deadline_exceeded"]);
      await until(() => call.signal.aborted);
    });

    it("gives a call no more than its request has left", async () => {
      const { reached, handlers } = silent();
      await using rpc = await startRpc(wire, { handlers });
      const startedAtMs = performance.now();
      const failed = runInContext({ requestId: "request-1", deadlineAtMs: startedAtMs + 300 }, () =>
        failureOf(rpc.client.say({}, { timeoutMs: 60_000 })),
      );
      const call = await reached.promise;
      assert.ok(call.deadlineAtMs <= performance.now() + 300);
      assert.equal(call.requestId, "request-1");
      assert.equal((await failed).status, "deadline_exceeded");
    });

    it("sends nothing when no time is left", async () => {
      let calls = 0;
      await using rpc = await startRpc(wire, { handlers: { say: () => ({ big: BigInt(++calls) }) } });
      for (const leftMs of [0, -5, 0.4]) {
        const error = await runInContext({ deadlineAtMs: performance.now() + leftMs }, () =>
          failureOf(rpc.client.say({})),
        );
        assert.deepEqual([error.code, error.status], ["ERR_DEADLINE_EXCEEDED", "deadline_exceeded"]);
      }
      assert.equal((await rpc.client.say({})).big, 1n);
    });

    it("cancels a call by its signal, and the server hears of it", async () => {
      const { reached, handlers } = silent();
      await using rpc = await startRpc(wire, { handlers });
      const caller = new AbortController();
      let told = 0;
      const onTrailers = (): void => void told++;
      const failed = failureOf(rpc.client.say({}, { signal: caller.signal, timeoutMs: 60_000, onTrailers }));
      const call = await reached.promise;
      caller.abort(new Error("enough"));
      const error = await failed;
      assert.deepEqual([error.code, error.status], ["ERR_CANCELLED", "cancelled"]);
      await until(() => call.signal.aborted);
      assert.equal(told, 0, "who has left is told nothing");
    });

    it("cancels a call when the request that it is made for is, with its reason", async () => {
      const { reached, handlers } = silent();
      await using rpc = await startRpc(wire, { handlers });
      const request = new AbortController();
      const failed = runInContext({ signal: request.signal }, () =>
        failureOf(rpc.client.say({}, { timeoutMs: 60_000 })),
      );
      await reached.promise;
      const reason = AppError.cancelled("ERR_CANCELLED", "the caller has gone");
      request.abort(reason);
      assert.equal(await failed, reason);
    });

    it("sends nothing when its signal has aborted already", async () => {
      let calls = 0;
      await using rpc = await startRpc(wire, { handlers: { say: () => ({ big: BigInt(++calls) }) } });
      assert.equal((await failureOf(rpc.client.say({}, { signal: AbortSignal.abort() }))).status, "cancelled");
      assert.equal((await rpc.client.say({})).big, 1n);
    });

    it("leaves no listener on a signal that outlives its calls", async () => {
      await using rpc = await startRpc(wire);
      const warned: Error[] = [];
      const onWarning = (warning: Error): void => void warned.push(warning);
      process.on("warning", onWarning);
      const { signal } = new AbortController();
      for (let n = 0; n < 30; n++) await rpc.client.say({}, { signal });
      await new Promise(setImmediate);
      process.off("warning", onWarning);
      assert.deepEqual(warned, []);
    });

    it("carries the trace and the id of the request that it is made for", async () => {
      const seen: unknown[] = [];
      await using rpc = await startRpc(wire, {
        handlers: {
          say: (_request, call) => {
            seen.push(call.requestId, call.span?.traceId, call.header("traceparent")?.slice(0, 52));
            return {};
          },
        },
      });
      const span = { traceId: "a".repeat(32), spanId: "b".repeat(16), sampled: true };
      await runInContext({ requestId: "request-1", span }, () => rpc.client.say({}));
      assert.deepEqual(seen, ["request-1", span.traceId, `00-${span.traceId}-${span.spanId}`]);
    });

    it("says that nobody is there, and that nothing was sent, without the address", async () => {
      const listener = createServer();
      listener.listen(0, "127.0.0.1");
      await once(listener, "listening");
      const address = listener.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      await new Promise((resolve) => listener.close(resolve));
      const channel =
        wire === "grpc"
          ? await createGrpcChannel({ peer: "echo", address: `127.0.0.1:${port}` })
          : await createConnectChannel({ peer: "echo", url: `http://127.0.0.1:${port}` });
      const error = await failureOf(createRpcClient(EchoService, { channel, timeoutMs: 30_000 }).say({}));
      await channel.close();
      assert.deepEqual([error.code, error.status, error.retryable], ["ERR_RPC_UNAVAILABLE", "unavailable", true]);
      assert.ok(error instanceof RpcError && error.isUnsent);
      assert.doesNotMatch(error.message, /127|ECONN/);
      assert.match(String(error.cause), /ECONNREFUSED/);
    });

    it("refuses a reply that is too large", async () => {
      await using rpc = await startRpc(wire, {
        grpc: { maxReplyBytes: 10_000 },
        connect: { maxReplyBytes: 10_000 },
        handlers: { say: () => ({ text: "x".repeat(20_000) }) },
      });
      const error = await failureOf(rpc.client.say({}));
      assert.deepEqual(
        [error.code, error.status, error.retryable],
        ["ERR_RPC_REPLY_TOO_LARGE", "resource_exhausted", false],
      );
    });

    it("sends no request that is too large", async () => {
      let calls = 0;
      await using rpc = await startRpc(wire, {
        grpc: { maxRequestBytes: 10_000 },
        connect: { maxRequestBytes: 10_000 },
        handlers: { say: () => ({ big: BigInt(++calls) }) },
      });
      const error = await failureOf(rpc.client.say({ text: "x".repeat(20_000) }));
      assert.deepEqual([error.code, error.status, error.retryable], ["ERR_RPC_REQUEST", "resource_exhausted", false]);
      assert.equal((await rpc.client.say({})).big, 1n);
    });

    it("fails at once when too many calls are under way", async () => {
      const gate = Promise.withResolvers<void>();
      const limit = { maxPending: 2 };
      await using rpc = await startRpc(wire, {
        grpc: limit,
        connect: limit,
        handlers: { say: () => gate.promise.then(() => ({})) },
      });
      const fine = [rpc.client.say({}), rpc.client.say({})];
      const error = await failureOf(rpc.client.say({}));
      assert.deepEqual([error.code, error.status], ["ERR_OVERLOADED", "unavailable"]);
      gate.resolve();
      await Promise.all(fine);
      await rpc.client.say({});
    });

    it("closes when the calls under way have ended, once however often it is told to", async () => {
      const gate = Promise.withResolvers<void>();
      let isReached = false;
      await using rpc = await startRpc(wire, {
        handlers: {
          say: async () => {
            isReached = true;
            await gate.promise;
            return { text: "late" };
          },
        },
      });
      const reply = rpc.client.say({});
      await until(() => isReached);
      const { signal } = new AbortController();
      const closed = [rpc.channel.close({ signal }), rpc.channel.close({ signal })];
      const refused = await failureOf(rpc.client.say({}));
      assert.deepEqual([refused.code, refused.status], ["ERR_RPC_CLIENT_CLOSED", "unavailable"]);
      gate.resolve();
      assert.equal((await reply).text, "late");
      await Promise.all(closed);
    });

    it("cuts off what is left when the time to close is up", async () => {
      let isReached = false;
      await using rpc = await startRpc(wire, {
        handlers: {
          say: () => {
            isReached = true;
            return never();
          },
        },
      });
      const failed = failureOf(rpc.client.say({}, { timeoutMs: 60_000 }));
      await until(() => isReached);
      const limit = new AbortController();
      const closed = rpc.channel.close({ signal: limit.signal });
      limit.abort();
      await closed;
      assert.equal((await failed).code, "ERR_RPC_CLIENT_CLOSED");
    });

    it("is closed, though nobody reads on in a stream", { timeout: 10_000 }, async () => {
      await using rpc = await startRpc(wire, {
        handlers: {
          async *count() {
            yield { number: 1 };
            await never();
          },
        },
      });
      await rpc.client.count({ to: 2 })[Symbol.asyncIterator]().next();
      await rpc.channel.close();
    });

    it("counts its calls by peer", async () => {
      const metrics = createMetrics();
      await using rpc = await startRpc(wire, {
        grpc: { metrics },
        connect: { metrics },
        handlers: { say: ({ text }) => (text === "" ? fail(AppError.notFound("ERR_X", "x")) : {}) },
      });
      await rpc.client.say({ text: "x" });
      await failureOf(rpc.client.say({}));
      const { body } = await metrics.expose();
      const counts = body.split("\n").filter((line) => /_duration_seconds_count\{/.test(line));
      assert.equal(counts.length, 2, body);
      for (const line of counts) assert.match(line, /peer="echo".* 1$/);
    });
  });
}

describe("options of a client", () => {
  it("that are out of range are refused when it is made", async () => {
    for (const keepAliveMs of [0, 1.5])
      await assert.rejects(createConnectChannel({ peer: "x", url: "http://x", keepAliveMs }), {
        code: "ERR_OPTION_RANGE",
        message: /^keepAliveMs /,
      });
    await assert.rejects(createGrpcChannel({ peer: "x", address: "x:1", keepAliveMs: 10 }), {
      code: "ERR_OPTION_RANGE",
      message: /^keepAliveMs /,
    });
    for (const url of ["localhost:80", "ftp://x", "http://x/?a=1", "http://u:p@x"])
      await assert.rejects(createConnectChannel({ peer: "x", url }), { code: "ERR_OPTION_TYPE", message: /^url / });
    const channel = await createConnectChannel({ peer: "x", url: "http://x" });
    for (const timeoutMs of [0, -1, NaN])
      assert.throws(() => createRpcClient(EchoService, { channel, timeoutMs }), { code: "ERR_OPTION_RANGE" });
    await channel.close();
  });

  it("let it send no stream over the Connect protocol", async () => {
    await using rpc = await startRpc("connect-proto");
    const nothing = async function* () {};
    const refused = { code: "ERR_RPC_REQUEST", message: /use a gRPC channel/ };
    await assert.rejects(rpc.client.collect(nothing()), refused);
    await assert.rejects(Array.fromAsync(rpc.client.chat(nothing())), refused);
  });
});

function fail(thrown: unknown): never {
  throw thrown;
}

/** A handler that tells of its call and never answers. */
function silent() {
  const reached = Promise.withResolvers<RpcCall>();
  const say = (_request: unknown, call: RpcCall): Promise<never> => {
    reached.resolve(call);
    return never();
  };
  return { reached, handlers: { say } };
}

async function failureOf(call: Promise<unknown>): Promise<AppError> {
  try {
    await call;
  } catch (error) {
    if (AppError.is(error)) return error;
    throw error;
  }
  throw new Error("the call succeeded");
}
