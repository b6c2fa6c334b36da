import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Clock, currentContext, systemClock } from "@plinth/kernel";
import { FakeClock } from "@plinth/kernel/testing";
import { EchoService } from "../../gen/plinth/transport/testing/v1/echo_pb.ts";
import { createGrpcChannel } from "../../grpc/client/channel.ts";
import { echoHandlers, startGrpc } from "../../testing/grpc.ts";
import { startHttp, type TestHttp } from "../../testing/http.ts";
import { connectRoutes } from "../connect.ts";
import { rpcService } from "../service.ts";
import { createRpcClient } from "./client.ts";
import { createConnectChannel } from "./connect-channel.ts";

type Hop = "http" | "grpc" | "connect";

interface ChainOptions {
  readonly clock?: Clock;
  /** Called on each hop ahead of what it asks of the next one. */
  readonly onHop: (hop: Hop, signal: AbortSignal) => unknown;
}

/** Three services: the first is called over HTTP, calls the second over gRPC, and that the third by the Connect protocol. */
interface Chain extends AsyncDisposable {
  readonly front: TestHttp;
}

async function startChain({ clock = systemClock, onHop }: ChainOptions): Promise<Chain> {
  const settings = { deadlineMs: 600_000 };
  const last = await startHttp({
    clock,
    settings,
    routes: connectRoutes([
      rpcService(EchoService, {
        ...echoHandlers,
        say: async ({ text }, { signal }) => {
          await onHop("connect", signal);
          return { text };
        },
      }),
    ]),
  });
  const toLast = await createConnectChannel({ peer: "last", url: last.origin, clock });
  const lastClient = createRpcClient(EchoService, { channel: toLast, timeoutMs: Infinity, clock });
  const middle = await startGrpc({
    clock,
    settings,
    handlers: {
      say: async ({ text }, { signal }) => {
        await onHop("grpc", signal);
        return lastClient.say({ text });
      },
    },
  });
  const toMiddle = await createGrpcChannel({ peer: "middle", address: `127.0.0.1:${middle.server.port}`, clock });
  const middleClient = createRpcClient(EchoService, { channel: toMiddle, timeoutMs: Infinity, clock });
  const front = await startHttp({
    clock,
    settings,
    routes: (app) =>
      void app.get("/", async ({ signal }) => {
        await onHop("http", signal);
        return (await middleClient.say({ text: "hello" })).text;
      }),
  });
  return {
    front,
    async [Symbol.asyncDispose]() {
      await front[Symbol.asyncDispose]();
      await toMiddle.close();
      await middle[Symbol.asyncDispose]();
      await toLast.close();
      await last[Symbol.asyncDispose]();
    },
  };
}

const givenMs = 300_000;
const asked = { headers: { "plinth-timeout-ms": String(givenMs) } };

describe("three services that call one another", { timeout: 60_000 }, () => {
  it("have each what its caller had left: the last one less than the first was given", async () => {
    const clock = new FakeClock();
    const left: Record<string, number> = {};
    await using chain = await startChain({
      clock,
      onHop: async (hop) => {
        left[hop] = (currentContext()?.deadlineAtMs ?? Infinity) - clock.monotonicMs();
        if (hop !== "connect") await clock.advance(100_000);
      },
    });
    const reply = await chain.front.fetch("/", asked);
    assert.deepEqual([reply.status, await reply.text()], [200, "hello"]);
    // a wire tells whole milliseconds, and what was left when the call was begun
    assert.equal(left["http"], givenMs);
    const { grpc = NaN, connect = NaN } = left;
    assert.ok(grpc > 140_000 && grpc <= 200_000, `${grpc} ms for the second`);
    assert.ok(connect > 0 && connect <= grpc - 100_000, `${connect} ms for the third`);
  });

  for (const [spender, reached] of [
    ["http", ["http"]],
    ["grpc", ["http", "grpc"]],
  ] as const)
    it(`send nothing on when no time is left: ${spender} took it all`, async () => {
      const clock = new FakeClock();
      const seen: Hop[] = [];
      await using chain = await startChain({
        clock,
        onHop: async (hop) => {
          seen.push(hop);
          if (hop === spender) await clock.advance(givenMs);
        },
      });
      const reply = await chain.front.fetch("/", asked);
      const problem: unknown = await reply.json();
      assert.equal(reply.status, 504);
      assert.ok(typeof problem === "object" && problem !== null && "code" in problem);
      assert.equal(problem.code, "ERR_DEADLINE_EXCEEDED");
      await new Promise((resolve) => void setImmediate(resolve));
      assert.deepEqual(seen, reached);
    });

  it("stop one after the other when the first caller leaves, down to the last handler", async () => {
    const reasons: Record<string, unknown> = {};
    const arrived = Promise.withResolvers<void>();
    const all = Promise.withResolvers<void>();
    await using chain = await startChain({
      onHop: (hop, signal) => {
        signal.addEventListener("abort", () => {
          reasons[hop] = signal.reason;
          if (Object.keys(reasons).length === 3) all.resolve();
        });
        if (hop !== "connect") return undefined;
        arrived.resolve();
        return new Promise(() => {});
      },
    });
    const caller = new AbortController();
    const left = chain.front.fetch("/", { signal: caller.signal }).then(
      () => "answered",
      () => "left",
    );
    await arrived.promise;
    assert.deepEqual(reasons, {});
    caller.abort();
    await all.promise;
    assert.equal(await left, "left");
    for (const [hop, reason] of Object.entries(reasons)) assert.match(String(reason), /gone|cancelled/, hop);
  });
});
