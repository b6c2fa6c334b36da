import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError, currentContext, runInContext } from "@plinth/kernel";
import { FakeClock } from "@plinth/kernel/testing";
import { EchoService } from "../../gen/plinth/transport/testing/v1/echo_pb.ts";
import { echoHandlers } from "../../testing/grpc.ts";
import { type RpcCall, type RpcHandlers, rpcService } from "../service.ts";
import { createRpcClient } from "./client.ts";
import { RpcError } from "./errors.ts";
import { createInProcessChannel } from "./in-process-channel.ts";

type Handlers = Partial<RpcHandlers<typeof EchoService>>;

async function start(handlers: Handlers = {}) {
  const clock = new FakeClock();
  const faults: AppError[] = [];
  const services = [rpcService(EchoService, { ...echoHandlers, ...handlers })];
  const channel = await createInProcessChannel(services, { clock, onFault: (error) => faults.push(error) });
  return { clock, faults, channel, client: createRpcClient(EchoService, { channel, clock }) };
}

const never = (): Promise<never> => new Promise(() => {});

describe("a channel within one process", () => {
  it("calls a method, and shares nothing with it", async () => {
    const data = Uint8Array.of(1, 2);
    let seen: Uint8Array | undefined;
    const { client } = await start({ say: (request) => ({ text: request.text, data: (seen = request.data) }) });
    const reply = await client.say({ text: "hé", data });
    seen?.fill(9);
    assert.deepEqual([reply.text, [...reply.data], [...data]], ["hé", [1, 2], [1, 2]]);
  });

  it("carries metadata both ways", async () => {
    const { client } = await start({
      say: (_request, call) => {
        call.setReplyHeader("x-leading", call.header("x-given") ?? "none");
        call.setReplyTrailer("x-trailing", "after");
        return {};
      },
    });
    const told: unknown[] = [];
    const onHeaders = (headers: object): void => void told.push({ ...headers });
    await client.say({}, { headers: { "x-given": "yes" }, onHeaders, onTrailers: onHeaders });
    assert.deepEqual(told, [{ "x-leading": "yes" }, { "x-trailing": "after" }]);
  });

  it("gives errors back as far as callers may know", async () => {
    const thrown = new AppError("ERR_NOTES_ODD", "not_found", "odd", { metadata: { limit: "5" }, retryable: true });
    const error = await failureOf((await start({ say: () => Promise.reject(thrown) })).client.say({}));
    assert.ok(error instanceof RpcError && error !== thrown);
    assert.deepEqual(
      [error.code, error.status, error.message, { ...error.metadata }, error.retryable],
      ["ERR_NOTES_ODD", "not_found", "odd", { limit: "5" }, true],
    );
    for (const secret of [new Error("s3cret"), AppError.internal("ERR_X", "s3cret")]) {
      const { client, faults } = await start({ say: () => Promise.reject(secret) });
      const hidden = await failureOf(client.say({}));
      assert.deepEqual([hidden.code, hidden.status], ["ERR_INTERNAL", "internal"]);
      assert.doesNotMatch(hidden.message, /s3cret/);
      assert.match(String(faults[0]?.message), /s3cret/);
    }
  });

  it("tells the handler of deadline and cancelling, and does not wait for it then", async () => {
    const reached: RpcCall[] = [];
    const { client, clock } = await start({
      say: (_request, call) => {
        reached.push(call);
        return never();
      },
    });
    const late = failureOf(client.say({}, { timeoutMs: 300 }));
    await clock.advance(0);
    assert.equal(reached[0]?.deadlineAtMs, 300);
    await clock.advance(300);
    assert.equal((await late).status, "deadline_exceeded");
    assert.ok(reached[0]?.signal.aborted);
    const caller = new AbortController();
    const left = failureOf(client.say({}, { signal: caller.signal }));
    await clock.advance(0);
    caller.abort();
    assert.equal((await left).status, "cancelled");
    assert.ok(reached[1]?.signal.aborted);
    assert.equal(clock.pending, 0);
  });

  it("hands on what is left of the time, the id and the trace of the request", async () => {
    const span = { traceId: "a".repeat(32), spanId: "b".repeat(16), sampled: true };
    const seen: unknown[] = [];
    const { client } = await start({
      say: () => {
        const context = currentContext();
        seen.push(context?.requestId, context?.deadlineAtMs, context?.span?.traceId);
        return {};
      },
    });
    await runInContext({ requestId: "request-1", deadlineAtMs: 100, span }, () => client.say({}));
    assert.deepEqual(seen, ["request-1", 100, span.traceId]);
  });

  it("streams, and tells the handler when its reader leaves", async () => {
    let call: RpcCall | undefined;
    let isEnded = false;
    const { client } = await start({
      async *count({ to }, given) {
        call = given;
        try {
          for (let n = 1; n <= to; n++) yield { number: n };
        } finally {
          isEnded = true;
        }
      },
    });
    const all = await Array.fromAsync(client.count({ to: 3 }));
    assert.equal(all.length, 3);
    isEnded = false;
    for await (const _ of client.count({ to: 3 })) break;
    await new Promise(setImmediate);
    assert.deepEqual([isEnded, call?.signal.aborted], [true, true]);
  });

  it("says what it does not serve, and what is no message", async () => {
    const clock = new FakeClock();
    const client = createRpcClient(EchoService, { channel: await createInProcessChannel([], { clock }), clock });
    assert.equal((await failureOf(client.say({}))).status, "unimplemented");
    await assert.rejects((await start()).client.say({ big: 2n ** 80n }), { code: "ERR_RPC_REQUEST" });
    const odd = await start({ say: () => fail() });
    assert.equal((await failureOf(odd.client.say({}))).status, "internal");
    const service = rpcService(EchoService, echoHandlers);
    await assert.rejects(createInProcessChannel([service, service]), /served twice/);
  });

  it("takes no calls once it is closed, and cuts off those under way", async () => {
    const { client, channel, clock } = await start({ say: never });
    const cut = failureOf(client.say({}));
    await clock.advance(0);
    await channel.close();
    assert.equal((await cut).code, "ERR_RPC_CLIENT_CLOSED");
    assert.equal((await failureOf(client.say({}))).code, "ERR_RPC_CLIENT_CLOSED");
  });
});

function fail(): never {
  throw new TypeError("no message");
}

function failureOf(work: Promise<unknown>): Promise<AppError> {
  return work.then(
    () => assert.fail("it did not fail"),
    (error: unknown) => AppError.from(error),
  );
}
