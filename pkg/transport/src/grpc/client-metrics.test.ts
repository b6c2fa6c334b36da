import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { describe, it } from "node:test";
import { AppError, createMetrics, type Metrics, runInContext } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { startGrpc, type TestGrpcOptions } from "../testing/grpc.ts";
import { EchoClient, failureOf } from "../testing/grpc-client.ts";
import { createGrpcClientInterceptors } from "./client-metrics.ts";

interface Observed extends AsyncDisposable {
  readonly client: EchoClient;
  readonly metrics: Metrics;
}

/** A server, and a client of it that is observed. */
async function observed(handlers: TestGrpcOptions["handlers"] = {}): Promise<Observed> {
  const grpc = await startGrpc({ handlers });
  const metrics = createMetrics();
  const client = new EchoClient(grpc.server.port, await createGrpcClientInterceptors({ metrics, peer: "echo" }));
  return {
    client,
    metrics,
    async [Symbol.asyncDispose]() {
      client.close();
      await grpc[Symbol.asyncDispose]();
    },
  };
}

/** Calls counted, by method and status. */
async function counts(metrics: Metrics): Promise<Record<string, number>> {
  const { body } = await metrics.expose();
  const lines = body.matchAll(
    /^grpc_client_call_duration_seconds_count\{peer="echo",method="[\w.]+\/(\w+)",status="(\w+)"\} (\d+)$/gm,
  );
  return Object.fromEntries([...lines].map(([, method, status, count]) => [`${method} ${status}`, Number(count)]));
}

async function active(metrics: Metrics): Promise<string | undefined> {
  return /^grpc_client_active_calls\{peer="echo"\} (\d+)$/m.exec((await metrics.expose()).body)?.[1];
}

const never = new Promise<never>(() => {});

describe("createGrpcClientInterceptors", () => {
  it("counts calls of all four kinds by method and status, and leaves them as they are", async () => {
    await using echo = await observed();
    const { client, metrics } = echo;
    assert.equal((await client.say({ text: "a" })).text, "a");
    assert.equal((await client.count({ to: 3 }).toArray()).length, 3);
    const { call, reply } = client.collect();
    call.write({ text: "a" });
    call.end({ text: "b" });
    assert.equal((await reply).text, "a b");
    const chat = client.chat();
    chat.end({ text: "a" });
    assert.deepEqual(
      (await chat.toArray()).map(({ text }) => text),
      ["you said a"],
    );
    assert.deepEqual(await counts(metrics), { "Say ok": 1, "Count ok": 1, "Collect ok": 1, "Chat ok": 1 });
    assert.equal(await active(metrics), "0");
  });

  it("counts calls under way, streams until their status", async () => {
    const release = Promise.withResolvers<void>();
    await using echo = await observed({
      async *count() {
        yield { number: 1 };
        await release.promise;
      },
    });
    const stream = echo.client.count({});
    await once(stream, "data");
    assert.equal(await active(echo.metrics), "1");
    assert.deepEqual(await counts(echo.metrics), {});
    release.resolve();
    await once(stream.resume(), "end");
    await until(() => stream.destroyed || stream.readableEnded);
    assert.equal(await active(echo.metrics), "0");
  });

  it("counts failures by the name of their status", async () => {
    await using echo = await observed({
      say: ({ text }) => {
        if (text === "internal") throw new Error("x");
        throw new AppError("ERR_X", "resource_exhausted", "x");
      },
    });
    await failureOf(echo.client.say({ text: "internal" }));
    await failureOf(echo.client.say({}));
    assert.deepEqual(await counts(echo.metrics), { "Say internal": 1, "Say resource_exhausted": 1 });
  });

  it("counts a deadline that passes and a call that is cancelled, of every kind", async () => {
    await using echo = await observed({
      say: () => never,
      collect: () => never,
      async *count() {
        yield await never;
      },
      async *chat() {
        yield await never;
      },
    });
    const { client } = echo;
    for (const init of [{ deadlineMs: 30 }, {}]) {
      const say = client.unary(EchoService.method.say, {}, init);
      const collect = client.collect(init);
      const count = client.count({}, init);
      const chat = client.chat(init);
      const calls = [say.call, collect.call, count, chat];
      const ends = [say.reply, collect.reply, count.toArray(), chat.toArray()].map(failureOf);
      if (init.deadlineMs === undefined) setImmediate(() => calls.forEach((call) => call.cancel()));
      await Promise.all(ends);
    }
    const kinds = ["Say", "Collect", "Count", "Chat"];
    const expected = kinds.flatMap((kind) => [`${kind} deadline_exceeded`, `${kind} cancelled`]);
    assert.deepEqual(await counts(echo.metrics), Object.fromEntries(expected.map((key) => [key, 1])));
    assert.equal(await active(echo.metrics), "0");
  });

  it("counts a server that is not there, and one that breaks off, as unavailable", async () => {
    const metrics = createMetrics();
    const breaking = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
    await once(breaking, "listening");
    const { port } = breaking.address() as AddressInfo;
    const interceptors = await createGrpcClientInterceptors({ metrics, peer: "echo" });
    const broken = new EchoClient(port, interceptors);
    await failureOf(broken.say({}));
    broken.close();
    breaking.close();
    await once(breaking, "close");
    const refused = new EchoClient(port, interceptors);
    await failureOf(refused.say({}));
    refused.close();
    assert.deepEqual(await counts(metrics), { "Say unavailable": 2 });
    assert.equal(await active(metrics), "0");
  });

  it("tells the trace of the request that a call is a part of", async () => {
    await using echo = await observed();
    const span = { traceId: "a".repeat(32), spanId: "b".repeat(16), sampled: true };
    await runInContext({ span }, () => echo.client.say({}));
    const { body } = await echo.metrics.expose({ accept: "application/openmetrics-text" });
    assert.match(body, new RegExp(`_bucket\\{.*# \\{.*trace_id="${span.traceId}"`));
  });
});
