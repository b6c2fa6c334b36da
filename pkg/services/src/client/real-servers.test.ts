import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError, type Clock, createTracing, currentContext, runInContext, type Tracing } from "@plinth/kernel";
import { FakeClock } from "@plinth/kernel/testing";
import { createMemoryRegistry, createMemoryStore } from "@plinth/registry";
import { createIdentityClient, type IdentityClient, type UserId, userId } from "../index.ts";
import { fakeIdentity, referenceServer } from "../testing/index.ts";
import { createBalancedChannel } from "./balanced-channel.ts";
import type { BalancedChannelOptions, ServiceTransport } from "./options.ts";

const wires = ["grpc", "http"] as const satisfies readonly ServiceTransport[];
const timeoutMs = 30_000;

function addressOf(server: { readonly grpcAddress: string; readonly httpUrl: string }, wire: ServiceTransport): string {
  return wire === "grpc" ? server.grpcAddress : new URL(server.httpUrl).host;
}

async function connect(
  wire: ServiceTransport,
  addresses: readonly string[],
  options: Partial<BalancedChannelOptions> = {},
) {
  const channel = await createBalancedChannel({
    service: "identity",
    find: { addresses },
    transport: wire,
    ...options,
  });
  const clock = options.clock ? { clock: options.clock } : {};
  return { channel, client: createIdentityClient({ channel, timeoutMs, ...clock }) };
}

for (const wire of wires) {
  describe(`two hops over ${wire}`, () => {
    // 300 ms thirty times over, so that a loaded machine has its own time for them
    const givenMs = 9_000;

    async function hops(clock: FakeClock, spend: (hop: "middle" | "last") => Promise<void>) {
      const leftMs: Partial<Record<"middle" | "last", number>> = {};
      const fake = fakeIdentity({ clock });
      const { userId: ada } = await fake.createUser({ email: "ada@example.com" });
      const seen = async (hop: "middle" | "last"): Promise<void> => {
        leftMs[hop] = (currentContext()?.deadlineAtMs ?? Infinity) - clock.monotonicMs();
        await spend(hop);
      };
      const serve = (identity: IdentityClient, own: Clock) => referenceServer({ identity, clock: own });
      const last = await serve({ ...fake, getUser: (id) => seen("last").then(() => fake.getUser(id)) }, clock);
      const next = await connect(wire, [addressOf(last, wire)], { clock });
      const middle = await serve(
        { ...fake, getUser: (id) => seen("middle").then(() => next.client.getUser(id)) },
        clock,
      );
      const first = await connect(wire, [addressOf(middle, wire)], { clock });
      return {
        leftMs,
        call: () => runInContext({ deadlineAtMs: clock.monotonicMs() + givenMs }, () => first.client.getUser(ada)),
        async [Symbol.asyncDispose]() {
          for (const { channel } of [first, next]) await channel.close();
          for (const server of [middle, last]) await server.close();
        },
      };
    }

    it("have less at each, by what was spent and a margin", async () => {
      const clock = new FakeClock();
      await using chain = await hops(clock, (hop) => (hop === "middle" ? clock.advance(1_000) : Promise.resolve()));
      await chain.call();
      const { middle = NaN, last = NaN } = chain.leftMs;
      assert.ok(middle <= givenMs - 5 && middle > 0, String(middle));
      assert.ok(last <= middle - 1_000 - 5 && last > 0, `${last} of ${middle}`);
    });

    it("come to an end after the first when that has spent all: the second is sent nothing", async () => {
      const clock = new FakeClock();
      await using chain = await hops(clock, (hop) => (hop === "middle" ? clock.advance(givenMs) : Promise.resolve()));
      await assert.rejects(chain.call(), { code: "ERR_DEADLINE_EXCEEDED" });
      assert.equal(chain.leftMs.last, undefined);
    });
  });

  it(`instances that are killed and replaced over ${wire} do nothing twice, and no call that may be repeated fails`, async () => {
    const done = new Map<UserId, number>();
    const fake = fakeIdentity();
    const { userId: ada } = await fake.createUser({ email: "ada@example.com" });
    /** The instance that is to be killed does not answer any more; it has begun with a call. */
    let dying: { readonly name: string; readonly reached: PromiseWithResolvers<void> } | undefined;
    const identityOf = (name: string): IdentityClient => ({
      ...fake,
      // not idempotent
      startEmailVerification: async (id, { signal } = {}) => {
        done.set(id, (done.get(id) ?? 0) + 1);
        if (dying?.name !== name) return undefined;
        dying.reached.resolve();
        return new Promise((_resolve, reject) => {
          signal?.addEventListener("abort", () => reject(new Error("gone")));
        });
      },
    });
    const registry = createMemoryRegistry({ store: createMemoryStore() });
    let started = 0;
    const startOne = async () => {
      const id = `identity-${started++}`;
      const server = await referenceServer({ identity: identityOf(id) });
      const port = (address: string): number => Number(address.split(":").at(-1));
      const ports = { grpc: port(server.grpcAddress), http: port(server.httpUrl) };
      return {
        id,
        server,
        registration: await registry.register({ service: "identity", id, host: "127.0.0.1", ports }),
      };
    };
    let running = [await startOne(), await startOne()];
    const { channel, client } = await connect(wire, [], { find: { registry }, budget: { ratio: 1, minRetries: 100 } });
    const sent: UserId[] = [];
    const kept: UserId[] = [];
    const failed: AppError[] = [];
    const write = async (): Promise<void> => {
      const id = userId(`u-${sent.length}`);
      sent.push(id);
      await client.startEmailVerification(id).then(
        () => void kept.push(id),
        (error: unknown) => void failed.push(AppError.from(error)),
      );
    };
    const progress = { isOver: false };
    const load = Array.from({ length: 4 }, async () => {
      while (!progress.isOver) await Promise.all([write(), client.getUser(ada)]);
    });
    for (let round = 0; round < 3; round++) {
      const next = await startOne();
      const [killed, ...others] = running;
      const reached = Promise.withResolvers<void>();
      dying = { name: killed?.id ?? "", reached };
      await reached.promise;
      await killed?.server.close(); // while it is still in the registry, with calls under way
      await killed?.registration.deregister();
      running = [...others, next];
      for (let n = 0; n < 5; n++) await client.getUser(ada);
    }
    progress.isOver = true;
    await Promise.all(load);
    assert.ok(sent.length > 10);
    assert.deepEqual(
      [...done.values()].filter((count) => count !== 1),
      [],
    );
    assert.deepEqual(
      kept.filter((id) => !done.has(id)),
      [],
    );
    assert.ok(
      failed.every(({ status }) => status === "unavailable"),
      failed.map(String).join("\n"),
    );
    await channel.close();
    for (const { server } of running) await server.close();
    await registry.close();
  });

  it(`each attempt over ${wire} is a span of its own, under that of the request`, async () => {
    const started: (readonly [name: string, parent: string | undefined])[] = [];
    const own = createTracing();
    const tracing: Tracing = {
      startSpan: (name, options) => {
        started.push([name, currentContext()?.span?.spanId]);
        return own.startSpan(name, options);
      },
      withSpan: (name, attributes, fn) => own.withSpan(name, attributes, fn),
    };
    const fake = fakeIdentity();
    const { userId: ada } = await fake.createUser({ email: "ada@example.com" });
    fake.control.failNext("getUser", AppError.unavailable("ERR_X", "not now"));
    await using server = await referenceServer({ identity: fake });
    const { channel, client } = await connect(wire, [addressOf(server, wire)], { tracing });
    const outer = own.startSpan("request", { kind: "server" });
    await runInContext({ requestId: "r", span: outer }, () => client.getUser(ada));
    await channel.close();
    assert.equal(started.length, 2);
    for (const [, parent] of started) assert.equal(parent, outer.spanId);
  });
}
