import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import { AppError, createMetrics, runInContext, sleep } from "@plinth/kernel";
import { FakeClock } from "@plinth/kernel/testing";
import { createRpcClient, RpcError, type RpcChannel } from "@plinth/transport";
import { IdentityService } from "../gen/plinth/identity/v1/identity_pb.ts";
import { failing, lost, misdirected, refused, type Script, scriptedLines, silent } from "../testing/scripted-lines.ts";
import { balance, createBalancedChannel } from "./balanced-channel.ts";
import type { BalancedChannelOptions } from "./options.ts";

const a = "10.0.0.1:1";
const b = "10.0.0.2:1";
const c = "10.0.0.3:1";

/** A client of instances that do what a test says, under a clock that stands still. */
function start(scripts: Readonly<Record<string, Script>>, options: Partial<BalancedChannelOptions> = {}) {
  const clock = new FakeClock();
  const lines = scriptedLines((address) => scripts[address] ?? (() => ({})));
  const find = { addresses: Object.keys(scripts) };
  // no draw by chance: in turn
  const balancing = { policy: "round-robin" as const, ...options.balancing };
  const channel = balance({ service: "identity", find, clock, random: () => 0.5, ...options, balancing }, lines.open);
  return { clock, channel, ...lines, client: clientOf(channel, clock) };
}

function clientOf(channel: RpcChannel, clock = new FakeClock()) {
  const rpc = createRpcClient(IdentityService, { channel, clock, timeoutMs: 2_000 });
  return {
    read: (options?: object) => rpc.getUser({ userId: "u" }, options),
    /** Not idempotent. */
    write: (options?: object) => rpc.startEmailVerification({ userId: "u" }, options),
  };
}

async function failureOf(work: Promise<unknown>): Promise<RpcError> {
  const error: unknown = await work.then(
    () => assert.fail("it did not fail"),
    (thrown: unknown) => thrown,
  );
  if (error instanceof RpcError) return error;
  throw error;
}

/** Lets all that can happen without time happen, and all that waits. */
async function settle(clock: FakeClock, work: Promise<unknown>, ms = 3_000): Promise<void> {
  const progress = { isOver: false };
  const over = (): void => void (progress.isOver = true);
  work.then(over, over);
  for (let passed = 0; passed < ms && !progress.isOver; passed += 10) await clock.advance(10);
}

describe("a call of a balanced channel", () => {
  it("goes to the instances in turn", async () => {
    const { client, counts } = start({ [a]: () => ({}), [b]: () => ({}) });
    for (let n = 0; n < 10; n++) await client.write();
    assert.deepEqual(counts(), { [a]: 5, [b]: 5 });
  });

  it("is sent to another instance at once when nothing of it was sent, whatever it does", async () => {
    for (const method of ["read", "write"] as const) {
      const { client, counts } = start({ [a]: refused, [b]: () => ({}) });
      for (let n = 0; n < 2; n++) await client[method]();
      assert.equal(counts()[b], 2);
    }
  });

  it("that may have been done is sent again only where that is the same as once", async () => {
    const { client, sent, clock } = start({ [a]: lost, [b]: lost });
    const error = await failureOf(client.write());
    assert.deepEqual(
      [error.code, error.retryable, error.isUnsent, sent.length],
      ["ERR_RPC_UNAVAILABLE", true, false, 1],
    );
    const reading = failureOf(client.read());
    await settle(clock, reading);
    // no layer above is to make nine of three
    assert.deepEqual([(await reading).retryable, (await reading).isUnsent, sent.length], [false, false, 4]);
  });

  it("that was sent once counts as sent, however its last attempt ended", async () => {
    const { client, clock } = start({ [a]: lost, [b]: refused, [c]: refused }, { retries: { maxAttempts: 3 } });
    const reading = failureOf(client.read());
    await settle(clock, reading);
    assert.deepEqual([(await reading).retryable, (await reading).isUnsent], [false, false]);
    const other = start({ [a]: refused, [b]: refused });
    const writing = failureOf(other.client.write());
    await settle(other.clock, writing);
    assert.deepEqual([(await writing).retryable, (await writing).isUnsent, other.sent.length], [false, true, 3]);
  });

  it("goes to another instance with each attempt, also where its key leads to one", async () => {
    const keyed = { balancing: { policy: "consistent-hash", outliers: false } } as const;
    const { client, sent, clock } = start({ [a]: lost, [b]: lost, [c]: lost }, keyed);
    const reading = failureOf(client.read({ headers: { "plinth-key": "ada" } }));
    await settle(clock, reading);
    assert.deepEqual(sent.map(({ address }) => address).toSorted(), [a, b, c]);
  });

  it("waits before it is tried again, up to twice as long each time", async () => {
    const { client, sent, clock } = start(
      { [a]: lost, [b]: lost },
      { retries: { baseDelayMs: 100, maxDelayMs: 1_000 } },
    );
    const reading = failureOf(client.read());
    await clock.advance(49);
    assert.equal(sent.length, 1);
    await clock.advance(1);
    assert.equal(sent.length, 2);
    await clock.advance(99);
    assert.equal(sent.length, 2);
    await clock.advance(1);
    assert.equal(sent.length, 3);
    await reading;
  });

  it("is not tried again after an answer that another try would not change", async () => {
    const { client, sent } = start({ [a]: () => failing("not_found", { code: "ERR_X" }), [b]: () => ({}) });
    await assert.rejects(client.read(), { code: "ERR_X", retryable: false });
    assert.equal(sent.length, 1);
  });

  it("is never tried again on another's cancel", async () => {
    const { client, sent } = start({ [a]: () => failing("cancelled", { retryable: true }), [b]: () => ({}) });
    await assert.rejects(client.read(), { status: "cancelled" });
    assert.equal(sent.length, 1);
  });

  it("is not tried again once its caller has left, not even from within a wait", async () => {
    const { client, sent, clock, channel } = start(
      { [a]: lost, [b]: () => ({}) },
      { retries: { baseDelayMs: 1_000, maxDelayMs: 1_000 } },
    );
    const caller = new AbortController();
    const reading = client.read({ signal: caller.signal });
    await clock.advance(0);
    caller.abort();
    await assert.rejects(reading, { status: "cancelled" });
    assert.equal(sent.length, 1);
    assert.equal(channel.describe().calls.inFlight, 0);
    assert.equal(clock.pending, 0);
  });

  it("that failed for want of budget is not tried again, and nobody above is to", async () => {
    const { client, sent, channel } = start({ [a]: lost, [b]: lost }, { budget: { minRetries: 0, ratio: 0.2 } });
    const error = await failureOf(client.read());
    assert.deepEqual([error.retryable, sent.length], [false, 1]);
    assert.equal(channel.describe().budget?.refused, 1);
  });

  it("is never tried again where there are no retries", async () => {
    const { client, sent, channel } = start({ [a]: refused, [b]: () => ({}) }, { retries: false });
    await assert.rejects(client.read(), { retryable: true });
    assert.equal(sent.length, 1);
    assert.equal(channel.describe().budget, undefined);
  });

  it("has three retries for all calls together when few are made", async () => {
    const { client, sent, clock } = start({ [a]: lost, [b]: lost });
    for (let n = 0; n < 10; n++) await settle(clock, failureOf(client.read()), 500);
    assert.equal(sent.length, 13);
  });
});

describe("what a service asks for", () => {
  const retryInfo = (seconds: number) => {
    const delay = toBinary(DurationSchema, create(DurationSchema, { seconds: BigInt(seconds) }));
    return { typeName: "google.rpc.RetryInfo", value: Uint8Array.of(0x0a, delay.length, ...delay) };
  };

  it("by RetryInfo is waited for", async () => {
    const { client, sent, clock } = start({
      [a]: () => failing("unavailable", { details: [retryInfo(1)] }),
      [b]: () => ({}),
    });
    const reading = client.read();
    await clock.advance(999);
    assert.equal(sent.length, 1);
    await clock.advance(100);
    await reading;
  });

  it("by Retry-After is waited for over HTTP", async () => {
    const script: Script = ({ onHeaders }) => {
      onHeaders?.({ "retry-after": "1" });
      return failing("unavailable");
    };
    const told: unknown[] = [];
    const { client, sent, clock } = start({ [a]: script, [b]: () => ({}) }, { transport: "http" });
    const reading = client.read({ onHeaders: (headers: object) => told.push(headers) });
    await clock.advance(999);
    assert.equal(sent.length, 1);
    await clock.advance(100);
    await reading;
    assert.deepEqual(told, []); // the reply came with no headers, and those of an attempt before are not its
  });

  it("is not waited for where the caller would be gone", async () => {
    const { client, sent } = start({ [a]: () => failing("unavailable", { details: [retryInfo(5)] }), [b]: () => ({}) });
    await assert.rejects(client.read(), { retryable: false });
    assert.equal(sent.length, 1);
  });

  it("may be nonsense, which is passed over", async () => {
    const details = [{ typeName: "google.rpc.RetryInfo", value: Uint8Array.of(255, 255) }];
    const { client, clock } = start({ [a]: () => failing("unavailable", { details }), [b]: () => ({}) });
    const reading = client.read();
    await settle(clock, reading);
    await reading;
  });
});

describe("the time of a call", () => {
  it("is told to an instance less a margin, and what is left of it to the next", async () => {
    const { client, sent, clock } = start({ [a]: lost, [b]: () => ({}) }, { retries: { baseDelayMs: 100 } });
    const reading = client.read({ timeoutMs: 300 });
    await clock.advance(50);
    await reading;
    assert.deepEqual(
      sent.map(({ call }) => call.timeoutMs),
      [295, 245],
    );
  });

  it("is two seconds where its client gives it all the time there is", async () => {
    const { client, sent, clock } = start({ [a]: silent });
    const reading = failureOf(client.read({ timeoutMs: Infinity })).catch((error: unknown) => error);
    await clock.advance(0);
    assert.equal(sent[0]?.call.timeoutMs, 1_995);
    await clock.advance(2_000);
    assert.equal(AppError.from(await reading).status, "deadline_exceeded");
    assert.equal(clock.pending, 0);
  });

  it("is no longer than the channel allows, nor than the request being served has left", async () => {
    const { client, sent, clock } = start({ [a]: () => ({}) }, { timeoutMs: 500 });
    await client.read();
    await runInContext({ deadlineAtMs: clock.monotonicMs() + 100 }, () => client.read());
    assert.deepEqual(
      sent.map(({ call }) => call.timeoutMs),
      [495, 95],
    );
  });

  it("sends nothing when it is up but for the margin", async () => {
    const { client, sent } = start({ [a]: () => ({}) });
    await assert.rejects(client.read({ timeoutMs: 5 }), { code: "ERR_DEADLINE_EXCEEDED", status: "deadline_exceeded" });
    assert.equal(sent.length, 0);
    await client.read({ timeoutMs: 6 });
  });

  it("is shared by attempts: an idempotent one is given up for another, any other is not", async () => {
    const { client, counts, clock } = start({ [a]: silent, [b]: () => ({}) }, { attemptTimeoutMs: 400 });
    const reading = client.read();
    await clock.advance(450);
    await reading;
    assert.deepEqual(counts(), { [a]: 1, [b]: 1 });
    const other = start({ [a]: silent, [b]: silent }, { attemptTimeoutMs: 400 });
    const writing = other.client.write().catch((error: unknown) => AppError.from(error));
    await other.clock.advance(1_900);
    assert.equal(other.sent.length, 1);
    await other.clock.advance(200);
    assert.equal(AppError.from(await writing).status, "deadline_exceeded");
  });
});

describe("an instance", () => {
  it("that says that another is meant is called no more, and the call goes to the other", async () => {
    const { client, counts, channel } = start({ [a]: misdirected, [b]: () => ({}) });
    for (let n = 0; n < 5; n++) await client.write();
    assert.deepEqual(counts(), { [a]: 1, [b]: 5 });
    assert.deepEqual(
      channel.describe().instances.map(({ state }) => state),
      ["misdirected", "ready"],
    );
  });

  it("that refuses connections is left out", async () => {
    const { client, counts, channel } = start({ [a]: refused, [b]: () => ({}) });
    for (let n = 0; n < 40; n++) await client.write();
    assert.deepEqual(counts(), { [a]: 3, [b]: 40 });
    const [first] = channel.describe().instances;
    assert.deepEqual([first?.state, first?.ejectedFor], ["ejected", "local_failures"]);
  });

  it("at which a method fails too often is not called by it, and by others is", async () => {
    const { client, counts, clock } = start(
      { [a]: ({ method }) => (method.name === "GetUser" ? failing("internal") : {}), [b]: () => ({}) },
      { balancing: { outliers: false }, breaker: { minCalls: 4 }, retries: false },
    );
    for (let n = 0; n < 20; n++) await client.read().catch(() => {});
    assert.deepEqual(counts(), { [a]: 4, [b]: 16 });
    await client.write();
    await client.write();
    assert.equal(counts()[a], 5);
    await clock.advance(2_000);
    for (let n = 0; n < 4; n++) await client.read().catch(() => {});
    assert.equal(counts()[a], 6); // one goes through, and shuts it again
  });

  it("is called by nobody while all are shut, and it is said until when", async () => {
    const { client, sent, channel } = start(
      { [a]: () => failing("internal"), [b]: () => failing("internal") },
      { balancing: { outliers: false }, breaker: { minCalls: 4 }, retries: false },
    );
    for (let n = 0; n < 8; n++) await client.read().catch(() => {});
    const error = await failureOf(client.read());
    assert.deepEqual(
      [error.code, error.status, error.retryable, error.isUnsent, error.metadata["retryAfterMs"]],
      ["ERR_CIRCUIT_OPEN", "unavailable", false, true, "2000"],
    );
    assert.equal(sent.length, 8);
    const [circuit] = channel.describe().circuits;
    assert.deepEqual(circuit, {
      instance: a,
      method: "plinth.identity.v1.IdentityService/GetUser",
      state: "open",
      calls: 0, // it begins anew
      failures: 0,
      retryAfterMs: 2_000,
    });
    assert.ok(channel.describe().instances.every(({ inFlight }) => inFlight === 0));
  });

  it("is not blamed for callers that leave, or give it next to no time", async () => {
    const { client, channel, clock } = start({ [a]: silent }, { breaker: { minCalls: 1 } });
    for (let n = 0; n < 5; n++) {
      const leave = new AbortController();
      const reading = client.read({ signal: leave.signal }).catch(() => {});
      await clock.advance(1_000);
      leave.abort();
      await reading;
      const hasty = client.read({ timeoutMs: 50 }).catch(() => {});
      await clock.advance(60);
      await hasty;
    }
    assert.deepEqual(channel.describe().circuits, []);
    assert.equal(channel.describe().instances[0]?.state, "ready");
  });
});

describe("a slow call that may be made twice", () => {
  const hedging = { minCalls: 5, minDelayMs: 20 };

  /** As many calls as are needed to know what is usual. */
  async function warm(client: ReturnType<typeof clientOf>): Promise<void> {
    for (let n = 0; n < 20; n++) await client.read();
  }

  it("is sent to another instance beside, and the one that is late is broken off", async () => {
    const isSlow = new Set<string>();
    const script =
      (address: string): Script =>
      () =>
        isSlow.has(address) ? silent() : {};
    const { client, sent, clock, channel } = start({ [a]: script(a), [b]: script(b) }, { hedging });
    await warm(client);
    isSlow.add(a);
    const before = sent.length;
    const reading = Promise.all([client.read(), client.read()]);
    await clock.advance(19);
    assert.equal(sent.length, before + 2);
    await clock.advance(1);
    await reading;
    assert.equal(sent.length, before + 3);
    const late = sent.slice(before).find(({ address }) => address === a);
    assert.ok(late?.call.signal.aborted);
    assert.ok(channel.describe().instances.every(({ inFlight }) => inFlight === 0));
    assert.equal(clock.pending, 0);
  });

  it("is not when it is not idempotent, or there is nobody else, or no budget", async () => {
    const only = start({ [a]: () => ({}) }, { hedging });
    await warm(only.client);
    const before = only.sent.length;
    await only.client.read();
    assert.equal(only.sent.length, before + 1);
    const slow = new Set<string>();
    const poor = start(
      { [a]: () => (slow.has(a) ? silent() : {}), [b]: () => ({}) },
      { hedging, budget: { minRetries: 0, ratio: 0 } },
    );
    await warm(poor.client);
    slow.add(a);
    const reading = Promise.allSettled([
      poor.client.read(),
      poor.client.read(),
      poor.client.write(),
      poor.client.write(),
    ]);
    await poor.clock.advance(1_000);
    assert.equal(poor.sent.length, 24);
    await poor.clock.advance(2_000);
    await reading;
  });

  it("fails as the last of the two when both do", async () => {
    const isBroken = { is: false };
    const script: Script = () => (isBroken.is ? failing("unavailable", { code: "ERR_LATE" }) : {});
    const slow: Script = () => (isBroken.is ? silent() : {});
    const { client, clock } = start({ [a]: slow, [b]: script }, { hedging, retries: false });
    await warm(client);
    isBroken.is = true;
    const reading = client.read().catch((error: unknown) => AppError.from(error));
    await clock.advance(2_000);
    assert.equal(AppError.from(await reading).status, "deadline_exceeded");
  });
});

describe("the places of a channel", () => {
  it("are waited for in turn, up to a limit, and no longer than the caller waits", async () => {
    const gate = Promise.withResolvers<object>();
    const { client, sent, channel, clock } = start({ [a]: () => gate.promise }, { maxInFlight: 1, maxQueue: 2 });
    const first = client.read();
    const second = client.read();
    const hasty = client.read({ timeoutMs: 100 }).catch((error: unknown) => AppError.from(error));
    await clock.advance(0);
    assert.deepEqual(channel.describe().calls, { inFlight: 1, waiting: 2, refused: 0 });
    await assert.rejects(client.read(), { code: "ERR_OVERLOADED", status: "unavailable" });
    await clock.advance(100);
    assert.equal(AppError.from(await hasty).status, "deadline_exceeded");
    gate.resolve({});
    await first;
    await second;
    assert.equal(sent.length, 2);
    assert.equal(channel.describe().calls.inFlight, 0);
  });
});

describe("an instance that lets calls wait for all of their time", () => {
  const waits = (times: number) => Array.from({ length: times });

  /** Calls one after the other, none of which is answered. @returns how many channels were made. */
  async function wait(times: number) {
    const running = start({ [a]: silent }, { retries: false, breaker: false });
    const { client, clock } = running;
    for (const _ of waits(times))
      await settle(
        clock,
        client.read().catch(() => {}),
      );
    return running;
  }

  it("is called on a new connection after three, and the one before is closed", async () => {
    assert.equal((await wait(2)).opened.length, 1);
    const { opened, closed } = await wait(3);
    assert.deepEqual([opened, closed], [[a], [a]]);
    assert.equal((await wait(4)).opened.length, 2);
  });

  it("is given time with each connection, the more the longer it is silent", async () => {
    // a call every 2 s: after 3, 6, 9 of them; then 4 s and 8 s are more than three take
    const { opened } = await wait(30);
    assert.ok(opened.length > 3 && opened.length < 8, String(opened.length));
  });

  it("is called on a new one, though calls of before still wait for the old one", async () => {
    const { client, clock, opened } = start({ [a]: silent }, { retries: false, breaker: false });
    const all = Promise.allSettled(waits(30).map(() => client.read()));
    await settle(clock, all);
    await settle(
      clock,
      client.read().catch(() => {}),
    );
    assert.equal(opened.length, 2);
  });

  it("keeps its connection while it answers, or calls had no time to wait", async () => {
    const { client, clock, opened } = start({ [a]: silent }, { retries: false, breaker: false });
    for (const _ of waits(5))
      await settle(
        clock,
        client.read({ timeoutMs: 50 }).catch(() => {}),
      );
    assert.equal(opened.length, 1);
    const details = [{ typeName: "a.B", value: new Uint8Array() }];
    const late = () => sleep(told.clock, 1_000).then(() => failing("deadline_exceeded", { code: "ERR_X", details }));
    const told: ReturnType<typeof start> = start({ [a]: late }, { retries: false, breaker: false });
    for (const _ of waits(5))
      await settle(
        told.clock,
        told.client.read().catch(() => {}),
      );
    assert.equal(told.opened.length, 1);
  });
});

describe("a channel that is closed", () => {
  it("takes no more calls, and lets those under way end", async () => {
    const gate = Promise.withResolvers<object>();
    const { client, channel, closed, clock } = start({ [a]: () => gate.promise });
    const reading = client.read();
    await clock.advance(0);
    const closing = channel.close({ signal: new AbortController().signal });
    await assert.rejects(client.read(), { code: "ERR_RPC_CLIENT_CLOSED" });
    assert.deepEqual(closed, []);
    gate.resolve({});
    await reading;
    await closing;
    await channel.close();
    assert.deepEqual([...new Set(closed)], [a]);
    assert.ok(channel.describe().isClosed);
  });

  it("tries nothing again, and ends whatever waits, once it is cut off", async () => {
    const { client, channel, sent, clock } = start(
      { [a]: lost, [b]: lost },
      { maxInFlight: 1, retries: { baseDelayMs: 1_000, maxDelayMs: 1_000 } },
    );
    const reading = client.read();
    const waiting = client.read();
    const both = Promise.allSettled([reading, waiting]);
    await clock.advance(0);
    await channel.close();
    for (const one of await both) {
      assert.ok(one.status === "rejected");
      assert.equal(AppError.from(one.reason).code, "ERR_RPC_CLIENT_CLOSED");
    }
    assert.equal(sent.length, 1);
    assert.equal(clock.pending, 0);
  });
});

describe("options of a channel", () => {
  const find = { addresses: [a] };
  for (const [name, options] of Object.entries({
    timeoutMs: { find, timeoutMs: 0 },
    marginMs: { find, marginMs: -1 },
    attemptTimeoutMs: { find, attemptTimeoutMs: 0 },
    maxInFlight: { find, maxInFlight: 0 },
    maxQueue: { find, maxQueue: -1 },
    size: { find, subsetSize: 0 },
    firstAnswerMs: { find, firstAnswerMs: 0 },
    maxAttempts: { find, retries: { maxAttempts: 11 } },
    quantile: { find, hedging: { quantile: 2 } },
    errorRatio: { find, breaker: { errorRatio: 2 } },
    ratio: { find, budget: { ratio: 2 } },
    maxReplyBytes: { find, maxReplyBytes: 0 },
    "find.addresses": { find: { addresses: [] } },
    "find.addresses\\[1\\]": { find: { addresses: [a, "no port"] } },
    "find.url": { find: { url: "ftp://x" } },
  }))
    it(`are refused by name when they are out of range: ${name}`, async () => {
      await assert.rejects(createBalancedChannel({ service: "identity", ...options }), {
        name: "OptionError",
        message: new RegExp(`^${name} `),
      });
    });
});

it("metrics of a channel count calls, attempts by their place, and why nothing was tried again", async () => {
  const metrics = createMetrics();
  const { client, channel, clock } = start({ [a]: lost, [b]: lost }, { metrics });
  const reading = client.read().catch(() => {});
  await settle(clock, reading);
  await client.write().catch(() => {});
  const { body } = await metrics.expose();
  const method = 'method="plinth.identity.v1.IdentityService/GetUser"';
  for (const attempt of ["1", "2", "3"])
    assert.ok(
      body.includes(
        `service_client_attempts_total{service="identity",${method},status="unavailable",attempt="${attempt}"} 1`,
      ),
      body,
    );
  assert.ok(
    body.includes(`service_client_call_duration_seconds_count{service="identity",${method},status="unavailable"} 1`),
  );
  assert.ok(body.includes('service_client_given_up_total{service="identity",reason="attempts"} 1'));
  assert.ok(body.includes('service_client_given_up_total{service="identity",reason="not_retryable"} 1'));
  assert.ok(body.includes('service_client_instances{service="identity",state="ready"}'));
  await channel.close();
  assert.ok(!(await metrics.expose()).body.includes("service_client_instances{"));
});
