import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import { findFreePorts, type Redis, startRedis } from "../../../../scripts/servers/index.ts";
import { openRedisTexts } from "../shared/open-store.ts";
import type { SharedTexts, TextChange } from "../shared/texts.ts";

describe("texts that processes share in Redis", () => {
  let redis: Redis;
  const opened: SharedTexts[] = [];
  const open = async (list: string, more: Partial<Parameters<typeof openRedisTexts>[0]> = {}): Promise<SharedTexts> => {
    const texts = await openRedisTexts({ url: redis.url, connectTimeoutMs: 20_000, list, ...more });
    opened.push(texts);
    return texts;
  };
  const inAnHour = Date.now() + 3_600_000;
  const brief = (changes: readonly TextChange[]): string => changes.map(({ op, text }) => `${op} ${text}`).join(", ");
  const all = async (texts: SharedTexts): Promise<string> => brief((await texts.changesSince(0)).changes);
  before(async () => (redis = await startRedis()));
  after(async () => {
    for (const texts of opened) await texts.close();
    await redis.stop();
  });

  it("are told to the others from where those have read on, the same twice once", async () => {
    const [one, other] = [await open("told"), await open("told")];
    assert.equal(await one.add([{ text: "a", untilMs: inAnHour }, { text: "ä\n*" }]), 0);
    const first = await other.changesSince(0);
    assert.deepEqual(first.changes, [
      { op: "add", text: "a", untilMs: inAnHour },
      { op: "add", text: "ä\n*", untilMs: undefined },
    ]);
    assert.equal(first.next, first.head);
    await one.add([{ text: "a", untilMs: inAnHour }, { text: "ä\n*" }]);
    const second = await other.changesSince(first.next);
    assert.deepEqual([second.changes, second.head], [[], first.head], "nothing is another");
    await one.add([{ text: "a", untilMs: inAnHour + 1 }]);
    await one.remove(["ä\n*", "never there"]);
    assert.equal(brief((await other.changesSince(first.next)).changes), "add a, remove ä\n*, remove never there");
  });

  it("are read in parts, and what changes meanwhile comes last", async () => {
    const texts = await open("parts");
    const many = Array.from({ length: 500 }, (_, at) => ({ text: `t${at}`, untilMs: inAnHour }));
    await texts.add(many);
    assert.equal((await texts.changesSince(0)).changes.length, 500, "the last as well");
    await texts.add([{ text: "more" }]);
    const first = await texts.changesSince(0);
    assert.deepEqual([first.changes.length, first.next < first.head], [500, true]);
    await texts.remove(["t0"]);
    const rest = await texts.changesSince(first.next);
    assert.equal(brief(rest.changes), "add more, remove t0");
    assert.equal(rest.next, rest.head);
  });

  it("end at their time, and those taken out are remembered no longer than they would have lasted", async () => {
    const texts = await open("ends");
    await texts.add([{ text: "over", untilMs: Date.now() - 1 }]);
    assert.equal(await all(texts), "", "none is added that is over");
    const soon = Date.now() + 300;
    await texts.add([{ text: "a", untilMs: soon }, { text: "b", untilMs: soon }, { text: "c" }]);
    await texts.remove(["b"]);
    assert.equal(await all(texts), "add a, add c, remove b");
    await until(async () => (await all(texts)) === "add c");
    assert.equal(await redis.ask("ZCARD", "plinth:{ends}:until"), ":1");
    assert.equal(await redis.ask("ZCARD", "plinth:{ends}:order"), ":2", "it and the head");
  });

  it("that are only put back leave what was taken out lately as it is", async () => {
    const texts = await open("back");
    await texts.add([{ text: "a" }, { text: "b" }]);
    await texts.remove(["a"]);
    await texts.add([{ text: "a" }, { text: "b", untilMs: inAnHour }, { text: "c" }], { onlyMissing: true });
    const { changes } = await texts.changesSince(0);
    assert.equal(brief(changes), "add b, remove a, add c");
    assert.equal(changes[0]?.untilMs, undefined, "and the time of those that are there");
    await texts.add([{ text: "a" }]);
    assert.equal(await all(texts), "add b, add c, add a", "one that is added anew is");
  });

  it("are no more than may be: the others are refused, and those that are there can still be taken out", async () => {
    const texts = await open("full", { max: 2 });
    assert.equal(await texts.add([{ text: "a" }, { text: "b" }, { text: "c" }, { text: "d" }]), 2);
    assert.equal(await texts.add([{ text: "a", untilMs: inAnHour }]), 0, "one of them may get another time");
    await texts.remove(["a"]);
    assert.equal(await texts.add([{ text: "c" }]), 1, "what was taken out is remembered");
    assert.equal(await texts.add([{ text: "a" }]), 0);
    assert.equal(await all(texts), "add b, add a");
  });

  it("are known to be lost by a number that is lower than before, whatever of them is lost", async () => {
    const texts = await open("lost");
    for (const lost of [["FLUSHALL"], ["DEL", "plinth:{lost}:until"], ["DEL", "plinth:{lost}:order"]]) {
      await texts.add([{ text: "a" }]);
      const { next } = await texts.changesSince(0);
      assert.ok(next > 0);
      await redis.ask(...lost);
      assert.equal((await texts.changesSince(next)).head, 0, lost.join(" "));
      assert.equal(await all(texts), "");
      await texts.add([{ text: "b" }]);
      const after = await texts.changesSince(next);
      assert.equal(brief(after.changes), "add b", "numbers given since are higher than all before");
      await texts.remove(["b"]);
      await redis.ask("FLUSHALL");
    }
  });

  it("stand on one node of a Cluster", async () => {
    const [bus = 0] = await findFreePorts(1);
    await using node = await startRedis({ args: ["--cluster-enabled", "yes", "--cluster-port", String(bus)] });
    await node.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383");
    await until(async () => (await node.ask("CLUSTER", "INFO")).includes("cluster_state:ok"));
    const texts = await open("cluster", { url: node.url, cluster: true });
    await texts.add([{ text: "a" }]);
    await texts.remove(["b"]);
    assert.equal(await all(texts), "add a, remove b");
  });
});
