import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runInContext } from "@plinth/kernel";
import { FakeClock } from "@plinth/kernel/testing";
import { createRpcClient } from "@plinth/transport";
import { fakeIdentity, referenceServer } from "../testing/index.ts";
import { failing, scriptedLines } from "../testing/scripted-lines.ts";
import { IdentityService } from "../gen/plinth/identity/v1/identity_pb.ts";
import { createIdentityClient, identityService, userId } from "../index.ts";
import { balance, createBalancedChannel } from "./balanced-channel.ts";
import { passCallerToken, serviceToken, type ServiceTokenOptions } from "./credentials.ts";
import type { CallCredentials } from "./options.ts";

/** What calls are sent with, by these credentials. */
function start(
  credentials: CallCredentials | readonly CallCredentials[],
  clock = new FakeClock(),
  reply: () => unknown = () => ({}),
) {
  const { open, sent } = scriptedLines(() => reply);
  const channel = balance({ service: "identity", find: { addresses: ["10.0.0.1:1"] }, clock, credentials }, open);
  const rpc = createRpcClient(IdentityService, { channel, clock });
  return {
    call: (options?: object) => rpc.getUser({}, options),
    shown: () => sent.map(({ call }) => call.headers["authorization"]),
    sent,
  };
}

function tokens(clock: FakeClock, options: Partial<ServiceTokenOptions> = {}, lifeMs = 600_000) {
  const asked: PromiseWithResolvers<void>[] = [];
  const token = async () => {
    const one = Promise.withResolvers<void>();
    const number = asked.push(one);
    await one.promise;
    return { value: `t${number}`, expiresAtMs: clock.now() + lifeMs };
  };
  return { asked, credentials: serviceToken({ token, clock, ...options }) };
}

describe("a service token", () => {
  it("is got once for all calls that wait, and shown by all", async () => {
    const clock = new FakeClock();
    const { asked, credentials } = tokens(clock);
    const { call, shown } = start(credentials, clock);
    const calls = [call(), call(), call()];
    await clock.advance(0);
    assert.deepEqual([asked.length, shown().length], [1, 0]);
    asked[0]?.resolve();
    await Promise.all(calls);
    await call();
    assert.deepEqual([asked.length, shown()], [1, Array.from({ length: 4 }, () => "Bearer t1")]);
  });

  it("is renewed before its end while calls go on with the old one", async () => {
    const clock = new FakeClock();
    const { asked, credentials } = tokens(clock);
    const { call, shown } = start(credentials, clock);
    const first = call();
    await clock.advance(0);
    asked[0]?.resolve();
    await first;
    await clock.advance(539_999);
    await call();
    assert.equal(asked.length, 1);
    await clock.advance(1);
    await call();
    await call();
    assert.equal(asked.length, 2);
    asked[1]?.resolve();
    await clock.advance(0);
    await call();
    assert.deepEqual(shown(), ["Bearer t1", "Bearer t1", "Bearer t1", "Bearer t1", "Bearer t2"]);
  });

  it("that cannot be renewed is shown until its end, and then calls fail as the renewal does", async () => {
    const clock = new FakeClock();
    const { asked, credentials } = tokens(clock);
    const { call, shown } = start(credentials, clock);
    const first = call();
    await clock.advance(0);
    asked[0]?.resolve();
    await first;
    await clock.advance(550_000);
    await call();
    asked[1]?.reject(new Error("Auth is down"));
    await clock.advance(0);
    await call(); // not asked again within a second
    assert.equal(asked.length, 2);
    await clock.advance(50_000);
    const late = assert.rejects(call(), /Auth is down/);
    await clock.advance(0);
    asked[2]?.reject(new Error("Auth is down"));
    await late;
    assert.equal(shown().length, 3);
  });

  it("that is refused is replaced for the calls after, and not for each of them", async () => {
    const clock = new FakeClock();
    const { asked, credentials } = tokens(clock);
    const { call } = start(credentials, clock, () => failing("unauthenticated", { code: "ERR_AUTH" }));
    const first = assert.rejects(call(), { code: "ERR_AUTH" });
    await clock.advance(0);
    asked[0]?.resolve();
    await first;
    await assert.rejects(call(), { code: "ERR_AUTH" });
    assert.equal(asked.length, 1);
    await clock.advance(1_000);
    const again = assert.rejects(call(), { code: "ERR_AUTH" });
    await clock.advance(0);
    assert.equal(asked.length, 2);
    asked[1]?.resolve();
    await again;
  });

  it("is waited for no longer than the call has, and goes on to be got for the next", async () => {
    const clock = new FakeClock();
    const { asked, credentials } = tokens(clock);
    const { call, shown } = start(credentials, clock);
    const hasty = assert.rejects(call({ timeoutMs: 100 }), { status: "deadline_exceeded" });
    await clock.advance(100);
    await hasty;
    asked[0]?.resolve();
    await call();
    assert.deepEqual([asked.length, shown()], [1, ["Bearer t1"]]);
  });

  it("of a short life is renewed at half of it", async () => {
    const clock = new FakeClock();
    const { asked, credentials } = tokens(clock, {}, 10_000);
    const { call } = start(credentials, clock);
    const first = call();
    await clock.advance(0);
    asked[0]?.resolve();
    await first;
    await clock.advance(4_999);
    await call();
    assert.equal(asked.length, 1);
    await clock.advance(1);
    await call();
    assert.equal(asked.length, 2);
  });

  it("has options that are looked at", () => {
    const token = async () => ({ value: "t", expiresAtMs: Infinity });
    assert.throws(() => serviceToken({ token, refreshBeforeMs: -1 }), { code: "ERR_OPTION_RANGE" });
    assert.throws(() => serviceToken({ token, minIntervalMs: NaN }), { code: "ERR_OPTION_RANGE" });
  });
});

describe("the token of the caller", () => {
  it("is passed on by a service that is being called, and nothing outside of a call", async () => {
    const seen: unknown[] = [];
    const fake = fakeIdentity();
    const { userId: ada } = await fake.createUser({ email: "ada@example.com" });
    const behind = identityService(fake);
    const handlers = { ...behind.handlers };
    const getUser = handlers["getUser"];
    handlers["getUser"] = (input, call) => {
      seen.push(call.header("authorization"));
      return getUser?.(input, call);
    };
    await using last = await referenceServer({ services: [{ ...behind, handlers }] });
    const options = { service: "identity", find: { addresses: [last.grpcAddress] }, credentials: passCallerToken() };
    const channel = await createBalancedChannel(options);
    const next = createIdentityClient({ channel, timeoutMs: 30_000 });
    await using front = await referenceServer({ identity: { ...fake, getUser: (id) => next.getUser(id) } });
    const toFront = await createBalancedChannel({ service: "front", find: { url: front.httpUrl }, transport: "http" });
    const headers = { authorization: "Bearer of-ada" };
    await createIdentityClient({ channel: toFront, timeoutMs: 30_000 }).getUser(ada, { headers });
    await next.getUser(userId(ada));
    await runInContext({ requestId: "r" }, () => next.getUser(ada));
    assert.deepEqual(seen, ["Bearer of-ada", undefined, undefined]);
    await toFront.close();
    await channel.close();
  });

  it("replaces that of credentials given before, where there is one", async () => {
    const own: CallCredentials = { headers: () => ({ authorization: "own" }) };
    const { call, shown } = start([own, passCallerToken()]);
    await call();
    const context = { requestId: "r", header: (name: string) => (name === "authorization" ? "theirs" : undefined) };
    await runInContext(context, () => call());
    assert.deepEqual(shown(), ["own", "theirs"]);
    assert.throws(() => passCallerToken({ header: "X-Token" }), { code: "ERR_OPTION_TYPE" });
  });
});
