import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError } from "@plinth/kernel";
import { FakeClock } from "@plinth/kernel/testing";
import { createRpcClient } from "@plinth/transport";
import { AuditService } from "../gen/plinth/audit/v1/audit_pb.ts";
import { failing, lost, refused, type Script, scriptedLines, silent } from "../testing/scripted-lines.ts";
import { balance } from "./balanced-channel.ts";
import type { BalancedChannelOptions } from "./options.ts";

const a = "10.0.0.1:1";
const b = "10.0.0.2:1";

function start(scripts: Readonly<Record<string, Script>>, options: Partial<BalancedChannelOptions> = {}) {
  const clock = new FakeClock();
  const lines = scriptedLines((address) => scripts[address] ?? silent);
  const find = { addresses: Object.keys(scripts) };
  const balancing = { policy: "round-robin" } as const;
  const channel = balance({ service: "audit", find, clock, random: () => 0, balancing, ...options }, lines.open);
  const client = createRpcClient(AuditService, { channel, clock });
  const inFlight = () => channel.describe().instances.reduce((sum, one) => sum + one.inFlight, 0);
  return { ...lines, clock, channel, client, inFlight };
}

/** So many messages, then an end, or a failure. */
const messages = (count: number, end?: () => Promise<unknown>): Script =>
  async function* () {
    for (let n = 0; n < count; n++) yield {};
    await end?.();
  };

describe("a stream of a balanced channel", () => {
  it("gives its messages, and counts as under way as long as it lasts", async () => {
    const { client, sent, inFlight, channel } = start({ [a]: messages(3) });
    let count = 0;
    for await (const _ of client.tail({ afterSequence: 7n })) {
      count++;
      assert.deepEqual([inFlight(), channel.describe().calls.inFlight], [1, 1]);
    }
    assert.deepEqual([count, inFlight(), channel.describe().calls.inFlight], [3, 0, 0]);
    assert.equal(sent[0]?.call.timeoutMs, Infinity);
  });

  it("is begun anew at another instance before its first message, with the same request", async () => {
    const requests: unknown[] = [];
    const read = (script: Script): Script =>
      async function* (call) {
        if ("requests" in call) requests.push(await Array.fromAsync(Object(call.requests)));
        const replies: unknown = await script(call);
        if (typeof replies === "object" && replies !== null && Symbol.asyncIterator in replies) yield* Object(replies);
      };
    for (const broken of [refused, lost]) {
      const { client, inFlight } = start({ [a]: read(broken), [b]: read(messages(2)) });
      assert.equal((await Array.fromAsync(client.tail({ afterSequence: 7n }))).length, 2);
      assert.equal(inFlight(), 0);
    }
    assert.deepEqual(
      requests,
      Array.from({ length: 4 }, () => [{ afterSequence: 7n }]),
    );
  });

  it("is not begun anew after its first message", async () => {
    const { client, sent, inFlight } = start({ [a]: messages(1, lost), [b]: messages(1) });
    let count = 0;
    const read = async () => {
      for await (const _ of client.tail({})) count++;
    };
    await assert.rejects(read(), { code: "ERR_RPC_UNAVAILABLE" });
    assert.deepEqual([count, sent.length, inFlight()], [1, 1, 0]);
  });

  it("is given up after as many attempts as a call, and nobody above is to begin it again", async () => {
    const { client, sent } = start({ [a]: refused, [b]: refused });
    await assert.rejects(Array.fromAsync(client.tail({})), { retryable: false, isUnsent: true });
    assert.equal(sent.length, 3);
  });

  it("frees its place when its reader leaves, at once or later", async () => {
    const { client, inFlight, channel } = start({ [a]: messages(3, silent) });
    for await (const _ of client.tail({})) break;
    assert.deepEqual([inFlight(), channel.describe().calls.inFlight], [0, 0]);
    await client.tail({})[Symbol.asyncIterator]().return?.();
    assert.deepEqual([inFlight(), channel.describe().calls.inFlight], [0, 0]);
  });

  it("ends when it is cancelled, or when it has a time and that is up", async () => {
    const { client, clock, inFlight } = start({ [a]: silent });
    const leave = new AbortController();
    const left = Array.fromAsync(client.tail({}, { signal: leave.signal })).catch((error: unknown) =>
      AppError.from(error),
    );
    const late = Array.fromAsync(client.tail({}, { timeoutMs: 100 })).catch((error: unknown) => AppError.from(error));
    await clock.advance(50);
    leave.abort();
    await clock.advance(50);
    assert.deepEqual(
      [AppError.from(await left).status, AppError.from(await late).status],
      ["cancelled", "deadline_exceeded"],
    );
    assert.equal(inFlight(), 0);
  });

  it(
    "does not keep its channel from being closed, though its reader asks for no more",
    { timeout: 5_000 },
    async () => {
      const { client, channel, closed } = start({ [a]: messages(3, silent) });
      const replies = client.tail({})[Symbol.asyncIterator]();
      await replies.next();
      await channel.close();
      assert.ok(closed.includes(a));
    },
  );

  it("that fails counts against its instance", async () => {
    const { client, channel } = start(
      { [a]: () => failing("internal", { code: "ERR_X" }), [b]: messages(1) },
      { retries: false, balancing: { policy: "round-robin", outliers: { failures: 2 } } },
    );
    for (let n = 0; n < 4; n++) await Array.fromAsync(client.tail({})).catch(() => {});
    assert.equal(channel.describe().instances[0]?.ejectedFor, "failures");
  });
});
