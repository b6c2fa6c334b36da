import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createRpcClient } from "@plinth/transport";
import { AuditService } from "../index.ts";
import { scriptedLines } from "../testing/scripted-lines.ts";
import { balance } from "./balanced-channel.ts";
import { type ChannelPlan, LazyChannel } from "./lazy-channel.ts";
import type { BalancedChannel } from "./options.ts";

const [a, b] = ["10.0.0.1:1", "10.0.0.2:1"];

/** A channel over instances that do as told, and a client of it; each of its instances is a plan's. */
function start(scripts: Readonly<Record<string, () => unknown>> = {}) {
  const lines = scriptedLines((address) => scripts[address] ?? (() => ({})));
  const open = (address: string): BalancedChannel =>
    balance({ service: "audit", find: { addresses: [address] }, retries: false }, lines.open);
  const planOf = (address: string, make = async () => open(address)): ChannelPlan => ({
    peer: address,
    timeoutMs: 30_000,
    make,
  });
  const lazy = new LazyChannel(planOf(a));
  const client = createRpcClient(AuditService, { channel: lazy, timeoutMs: () => lazy.timeoutMs });
  const sentTo = () => lines.sent.map(({ address }) => address);
  return { lazy, client, planOf, open, sentTo, closed: lines.closed };
}

describe("a channel that is replaced while it is used", () => {
  it("takes new calls over, closes the old one when its calls have ended, and is then who it says", async () => {
    const gate = Promise.withResolvers<object>();
    const { lazy, client, planOf, sentTo, closed } = start({ [a]: () => gate.promise });
    const underWay = client.getHead({});
    const { commit } = await lazy.prepare({ ...planOf(b), timeoutMs: 5 });
    await Promise.resolve();
    assert.deepEqual([lazy.peer, lazy.timeoutMs], [a, 30_000]);
    commit();
    assert.deepEqual([lazy.peer, lazy.timeoutMs], [b, 5]);
    await client.getHead({}, { timeoutMs: 30_000 });
    assert.deepEqual(sentTo(), [a, b]);
    assert.deepEqual(closed, []);
    gate.resolve({});
    await underWay;
    await lazy.close();
    assert.deepEqual(new Set(closed), new Set([a, b]));
  });

  it("sends the call that opened it by the plan that holds by then", async () => {
    const { lazy, client, planOf, open, sentTo } = start();
    const opening = Promise.withResolvers<BalancedChannel>();
    (await lazy.prepare(planOf(a, () => opening.promise))).commit(); // nothing is open: nothing is opened
    const first = client.getHead({});
    (await lazy.prepare(planOf(b))).commit();
    opening.resolve(open(a));
    await first;
    assert.deepEqual(sentTo(), [b]);
    await lazy.close();
  });

  it("stays as it was where the other cannot be opened, or is not wanted", async () => {
    const { lazy, client, planOf, sentTo } = start();
    await client.getHead({});
    const refuse = async (): Promise<BalancedChannel> => Promise.reject(new Error("refused"));
    await assert.rejects(lazy.prepare(planOf(b, refuse)), /refused/);
    await (await lazy.prepare(planOf(b))).discard();
    await client.getHead({});
    assert.deepEqual([sentTo(), lazy.peer], [[a, a], a]);
    await lazy.close();
  });

  it("lets go of the other where it was closed meanwhile, and cuts off old calls when its own closing does", async () => {
    const gate = Promise.withResolvers<object>();
    const { lazy, client, planOf, closed } = start({ [a]: () => gate.promise });
    const underWay = client.getHead({});
    (await lazy.prepare(planOf(b))).commit();
    await client.getHead({}); // opens the way to b
    const late = await lazy.prepare(planOf("10.0.0.3:1"));
    assert.deepEqual(closed, []);
    await lazy.close();
    assert.deepEqual(new Set(closed), new Set([a, b]));
    late.commit();
    await assert.rejects(client.getHead({}), { code: "ERR_RPC_CLIENT_CLOSED" });
    gate.resolve({});
    await underWay;
  });
});
