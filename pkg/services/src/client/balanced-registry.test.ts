import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { createMemoryRegistry, createMemoryStore, type NewInstance } from "@plinth/registry";
import { createRpcClient, RpcError } from "@plinth/transport";
import { IdentityService } from "../gen/plinth/identity/v1/identity_pb.ts";
import { misdirected, type Script, scriptedLines } from "../testing/scripted-lines.ts";
import { balance } from "./balanced-channel.ts";
import type { BalancedChannelOptions } from "./options.ts";

type Own = Partial<NewInstance> & { readonly id: string; readonly port: number };

/** A channel over instances that register themselves. */
async function start(
  instances: readonly Own[],
  options: Partial<BalancedChannelOptions> = {},
  script: (address: string) => Script = () => () => ({}),
) {
  const clock = new FakeClock();
  const registry = createMemoryRegistry({ store: createMemoryStore(), clock });
  const register = ({ port, ...own }: Own) =>
    registry.register({ service: "identity", host: "10.0.0.1", ports: { grpc: port }, ...own });
  const registrations = new Map<string, Awaited<ReturnType<typeof register>>>();
  for (const instance of instances) registrations.set(instance.id, await register(instance));
  const lines = scriptedLines(script);
  const balancing = { policy: "round-robin", slowStartMs: 0 } as const;
  const given = { service: "identity", find: { registry }, clock, random: () => 0.5, balancing, ...options };
  const channel = balance(given, lines.open);
  const rpc = createRpcClient(IdentityService, { channel, clock, timeoutMs: 5_000 });
  return {
    clock,
    registry,
    register,
    registrations,
    channel,
    ...lines,
    /** Idempotent. */
    read: (signal: AbortSignal) => rpc.getUser({ userId: "u" }, { signal }),
    call: (headers = {}) => rpc.startEmailVerification({ userId: "u" }, { headers }),
    settle: () => clock.advance(0),
    async [Symbol.asyncDispose]() {
      await channel.close();
      await registry.close();
    },
  };
}

const three = [1, 2, 3].map((port) => ({ id: `i-${port}`, port }));

describe("a channel that finds instances by a registry", () => {
  it("leaves nothing behind of calls that there is nobody for", async () => {
    await using running = await start([], { attemptTimeoutMs: 1_000 });
    await running.settle();
    const before = running.clock.pending;
    const controller = new AbortController();
    for (let n = 0; n < 3; n++) await assert.rejects(running.read(controller.signal), { code: "ERR_NO_INSTANCE" });
    assert.equal(running.clock.pending, before);
    assert.equal(getEventListeners(controller.signal, "abort").length, 0);
  });

  it("waits with the first call for the first answer, and no longer than it is given", async () => {
    const clock = new FakeClock();
    const lines = scriptedLines(() => () => ({}));
    const silentRegistry = {
      async *watch() {
        await new Promise(() => {});
        yield* [];
      },
    };
    const channel = balance(
      { service: "identity", find: { registry: silentRegistry }, clock, firstAnswerMs: 1_000 },
      lines.open,
    );
    const rpc = createRpcClient(IdentityService, { channel, clock, timeoutMs: 5_000 });
    const hasty = assert.rejects(rpc.getUser({}, { timeoutMs: 300 }), { code: "ERR_DEADLINE_EXCEEDED" });
    const call = assert.rejects(rpc.getUser({}), {
      code: "ERR_NO_INSTANCE",
      status: "unavailable",
      isUnsent: true,
      message: /1000 ms/,
    });
    await clock.advance(1_000);
    await Promise.all([hasty, call]);
    await assert.rejects(rpc.getUser({}), { code: "ERR_NO_INSTANCE" });
    await channel.close();
  });

  it("says at once that there is nobody", async () => {
    await using world = await start([]);
    await assert.rejects(world.call(), {
      code: "ERR_NO_INSTANCE",
      message: /knows no instance of identity that speaks grpc/,
    });
    assert.ok(world.channel.describe().isKnown);
  });

  it("uses those that come, leaves those that go, and closes the channel to each that has gone", async () => {
    await using world = await start(three.slice(0, 2));
    for (let n = 0; n < 4; n++) await world.call();
    await world.registrations.get("i-1")?.deregister();
    await world.register({ id: "i-3", port: 3 });
    await world.settle();
    assert.deepEqual(world.closed, ["10.0.0.1:1"]);
    for (let n = 0; n < 4; n++) await world.call();
    assert.deepEqual(world.counts(), { "10.0.0.1:1": 2, "10.0.0.1:2": 4, "10.0.0.1:3": 2 });
  });

  it("lets a call at an instance that goes end", async () => {
    const gate = Promise.withResolvers<object>();
    await using world = await start(three.slice(0, 1), {}, () => () => gate.promise);
    const call = world.call();
    await world.settle();
    await world.registrations.get("i-1")?.deregister();
    await world.settle();
    assert.deepEqual(world.channel.describe().instances, []);
    gate.resolve({});
    await call;
  });

  it("sends the identity of the instance that is meant, to those that look at it alone", async () => {
    await using world = await start([
      { id: "i-1", port: 1, identity: "i-1" },
      { id: "i-2", port: 2 },
    ]);
    await world.call();
    await world.call();
    assert.deepEqual(
      world.sent.map(({ call }) => call.headers["plinth-instance"]),
      ["i-1", undefined],
    );
  });

  it("comes back to one at whose address another was, once the registry tells of others", async () => {
    let isWrong = true;
    await using world = await start(
      three.slice(0, 2),
      {},
      (address) => () => (isWrong && address.endsWith(":1") ? misdirected() : {}),
    );
    for (let n = 0; n < 4; n++) await world.call();
    assert.deepEqual(world.counts(), { "10.0.0.1:1": 1, "10.0.0.1:2": 4 });
    isWrong = false;
    await world.register({ id: "i-3", port: 3 });
    await world.settle();
    for (let n = 0; n < 3; n++) await world.call();
    assert.equal(world.counts()["10.0.0.1:1"], 2);
  });

  it("fails as unavailable when all say that another is meant", async () => {
    await using world = await start(three.slice(0, 1), { retries: { maxAttempts: 2 } }, () => misdirected);
    const error: unknown = await world.call().catch((thrown: unknown) => thrown);
    assert.ok(error instanceof RpcError);
    assert.deepEqual([error.code, error.isUnsent, error.retryable], ["ERR_RPC_UNAVAILABLE", true, false]);
  });

  it("gives each its share by weight", async () => {
    await using world = await start([
      { id: "i-1", port: 1, weight: 3 },
      { id: "i-2", port: 2 },
    ]);
    for (let n = 0; n < 8; n++) await world.call();
    assert.deepEqual(world.counts(), { "10.0.0.1:1": 6, "10.0.0.1:2": 2 });
  });

  it("starts one that joins others slowly", async () => {
    await using world = await start(three.slice(0, 1), { balancing: { policy: "round-robin", slowStartMs: 10_000 } });
    await world.call();
    await world.register({ id: "i-2", port: 2 });
    await world.settle();
    for (let n = 0; n < 22; n++) await world.call();
    const share = world.counts()["10.0.0.1:2"] ?? 0;
    assert.ok(share > 0 && share <= 4, String(share));
  });

  it("stays in its zone while there are instances there", async () => {
    await using world = await start(
      [
        { id: "i-1", port: 1, zone: "a" },
        { id: "i-2", port: 2, zone: "b" },
      ],
      { zone: "b" },
    );
    for (let n = 0; n < 4; n++) await world.call();
    assert.deepEqual(world.counts(), { "10.0.0.1:2": 4 });
    await world.registrations.get("i-2")?.deregister();
    await world.settle();
    await world.call();
    assert.equal(world.counts()["10.0.0.1:1"], 1);
  });

  it("talks to a part of a large fleet, the same each time", async () => {
    const fleet = Array.from({ length: 20 }, (_, n) => ({ id: `i-${n}`, port: n + 1 }));
    await using one = await start(fleet, { subsetSize: 3, clientId: "me" });
    await using same = await start(fleet, { subsetSize: 3, clientId: "me" });
    for (const world of [one, same]) for (let n = 0; n < 6; n++) await world.call();
    assert.equal(Object.keys(one.counts()).length, 3);
    assert.deepEqual(one.counts(), same.counts());
  });

  it("calls those that a filter takes alone", async () => {
    await using world = await start(
      [
        { id: "i-1", port: 1, tags: ["new"] },
        { id: "i-2", port: 2 },
      ],
      { filter: { tags: ["new"] } },
    );
    for (let n = 0; n < 3; n++) await world.call();
    assert.deepEqual(world.counts(), { "10.0.0.1:1": 3 });
  });

  it("sends calls of one key to one instance", async () => {
    await using world = await start(three, { balancing: { policy: "consistent-hash" } });
    for (let n = 0; n < 5; n++) await world.call({ "plinth-key": "ada" });
    assert.deepEqual(Object.values(world.counts()), [5]);
    await using other = await start(three, {
      balancing: { policy: "consistent-hash" },
      keyOf: ({ headers }) => headers["x-user"],
    });
    for (let n = 0; n < 5; n++) await other.call({ "x-user": "ada" });
    assert.deepEqual(Object.values(other.counts()), [5]);
  });
});
