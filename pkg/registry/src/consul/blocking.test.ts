import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import * as fc from "fast-check";
import { blockingParameters, blockingTimeoutMs, followIndex, parseIndex } from "./blocking.ts";

/** Runs the loop to its end, and gives all that it told. */
async function toldBy(
  ask: (over: AbortController) => Promise<{ readonly index: number }>,
  onAnswer: (over: AbortController) => void = () => {},
): Promise<string[]> {
  const over = new AbortController();
  const told: string[] = [];
  await followIndex({
    clock: new FakeClock(),
    backoff: {},
    maxRequestsPerSecond: 1,
    signal: over.signal,
    ask(index) {
      told.push(`asked ${index}`);
      return ask(over);
    },
    onAnswer({ index }) {
      told.push(`answered ${index}`);
      onAnswer(over);
    },
    onReset: () => told.push("reset"),
    onFailure: () => told.push("failed"),
    onRecovery: () => told.push("recovered"),
  });
  return told;
}

describe("the loop of blocking queries", () => {
  it("tells nothing of an answer that came together with the end", async () => {
    const told = await toldBy(async (over) => {
      over.abort();
      return { index: 1 };
    });
    assert.deepEqual(told, ["asked 0"]);
  });

  it("tells nothing of a failure that came together with the end", async () => {
    const told = await toldBy(async (over) => {
      over.abort();
      throw new Error("cut");
    });
    assert.deepEqual(told, ["asked 0"]);
  });

  it("asks nothing more when it is ended by the one it tells", async () => {
    const told = await toldBy(
      async () => ({ index: 7 }),
      (over) => over.abort(),
    );
    assert.deepEqual(told, ["asked 0", "answered 7"]);
  });
});

describe("the index that the next query waits on", () => {
  /** Answers in turn, `undefined` for a failure; then the end. */
  async function asked(answers: readonly (number | undefined)[]): Promise<string[]> {
    const left = [...answers];
    const clock = new FakeClock();
    const over = new AbortController();
    const told: string[] = [];
    const loop = followIndex({
      clock,
      backoff: { baseDelayMs: 100, maxDelayMs: 1_000, random: () => 0.5 },
      maxRequestsPerSecond: 1_000,
      signal: over.signal,
      async ask(index) {
        told.push(String(index));
        if (left.length === 0) {
          over.abort();
          return { index };
        }
        const answer = left.shift();
        if (answer === undefined) throw new Error("cut");
        return { index: answer };
      },
      onAnswer: () => {},
      onReset: (index, previous) => told.push(`${previous} back to ${index}`),
      onFailure: (_error, failures) => told.push(`failure ${failures}`),
      onRecovery: () => told.push("recovered"),
    });
    while (!over.signal.aborted) await clock.advance(1_000);
    await loop;
    return told;
  }

  const cases: readonly (readonly [what: string, answers: readonly (number | undefined)[], told: string])[] = [
    ["is that of the last answer", [7, 9], "0, 7, 9"],
    ["stays where nothing has changed", [7, 7, 7], "0, 7, 7, 7"],
    ["is 0 after one that went backwards, and goes on from the answer to that", [9, 4, 5], "0, 9, 9 back to 4, 0, 5"],
    ["is 0 where it goes backwards twice", [9, 4, 8, 2], "0, 9, 9 back to 4, 0, 8, 8 back to 2, 0"],
    ["is 1 for a 0, on which nothing would wait", [0], "0, 1"],
    ["is 0 after an answer without one, where there was one before", [7, 0, 7], "0, 7, 7 back to 0, 0, 7"],
    ["is 0 after a failure, whatever was known", [7, undefined, 8], "0, 7, failure 1, 0, recovered, 8"],
    [
      "is 0 after each of several failures, and a restarted agent's lower one is no reset then",
      [900, undefined, undefined, 3],
      "0, 900, failure 1, 0, failure 2, 0, recovered, 3",
    ],
    ["is kept up to what a number holds exactly", [999_999_999_999_999], "0, 999999999999999"],
  ];
  for (const [what, answers, told] of cases) {
    it(what, async () => assert.equal((await asked(answers)).join(", "), told));
  }

  it("never waits on what it was not given, and on nothing after a failure, whatever comes", async () => {
    const answer = fc.option(fc.integer({ min: 0, max: 20 }), { nil: undefined });
    await fc.assert(
      fc.asyncProperty(fc.array(answer, { maxLength: 30 }), async (answers) => {
        const indexes = (await asked(answers)).filter((text) => /^\d+$/.test(text)).map(Number);
        assert.equal(indexes.length, answers.length + 1, "one query for each answer, and the last");
        answers.forEach((given, at) => {
          const next = indexes[at + 1];
          if (given === undefined) assert.equal(next, 0);
          else assert.ok(next === 0 || next === Math.max(1, given), `${next} after ${given}`);
        });
      }),
      { seed: 7, numRuns: 60 },
    );
  });

  for (const [header, index] of [
    ["17", 17],
    ["0", 0],
    [undefined, 0],
    ["", 0],
    ["-4", 0],
    ["1e3", 0],
    ["0x10", 0],
    [" 7", 0],
    ["18446744073709551615", 0],
    [["1", "2"], 0],
  ] as const) {
    it(`is read from ${JSON.stringify(header)} as ${index}`, () => {
      assert.equal(parseIndex(typeof header === "object" ? [...header] : header), index);
    });
  }
});

describe("the pace of blocking queries", () => {
  /** Runs for so long in steps of a millisecond; gives when each query began, in milliseconds. */
  async function paced(
    forMs: number,
    perSecond: number,
    answer: (nowMs: number) => Promise<{ readonly index: number }>,
  ): Promise<{ readonly asked: readonly number[]; readonly applied: readonly number[] }> {
    const clock = new FakeClock();
    const over = new AbortController();
    const asked: number[] = [];
    const applied: number[] = [];
    const loop = followIndex({
      clock,
      backoff: { baseDelayMs: 250, maxDelayMs: 10_000, random: () => 0 }, // the worst of luck: no backoff at all
      maxRequestsPerSecond: perSecond,
      signal: over.signal,
      ask() {
        asked.push(clock.monotonicMs());
        return answer(clock.monotonicMs());
      },
      onAnswer: () => void applied.push(clock.monotonicMs()),
      onReset: () => {},
      onFailure: () => {},
      onRecovery: () => {},
    });
    await clock.advance(forMs);
    over.abort();
    await loop;
    return { asked, applied };
  }

  const servers: readonly (readonly [what: string, answer: (nowMs: number) => Promise<{ readonly index: number }>])[] =
    [
      ["changes a thousand times a second", async (nowMs) => ({ index: nowMs + 1 })],
      ["answers at once with the same index", async () => ({ index: 7 })],
      ["forgets its index", async () => ({ index: 0 })],
      ["goes backwards each time", async (nowMs) => ({ index: 1_000_000 - nowMs })],
      ["fails at once", () => Promise.reject(new Error("refused"))],
      [
        "fails every other time",
        (nowMs) => (nowMs % 2 === 0 ? Promise.reject(new Error("cut")) : Promise.resolve({ index: 7 })),
      ],
    ];
  for (const [what, answer] of servers) {
    for (const perSecond of [2, 10]) {
      it(`is at most ${perSecond} a second, and one more at once, of a server that ${what}`, async () => {
        const seconds = 20;
        const { asked, applied } = await paced(seconds * 1_000, perSecond, answer);
        assert.ok(asked.length <= seconds * perSecond + 2, `${asked.length} queries in ${seconds} s`);
        assert.ok(applied.length <= asked.length);
        for (const from of asked) {
          const within = asked.filter((atMs) => atMs >= from && atMs < from + 1_000).length;
          assert.ok(within <= perSecond + 1, `${within} queries in the second from ${from} ms on`);
        }
      });
    }
  }

  it("lets the first change be asked for at once", async () => {
    const { asked } = await paced(2_000, 2, async (nowMs) => ({ index: nowMs + 1 }));
    assert.deepEqual(asked, [0, 0, 500, 1_000, 1_500, 2_000]);
  });
});

describe("the wait of a blocking query", () => {
  for (const [index, waitMs, requestTimeoutMs, parameters, timeoutMs] of [
    [0, 60_000, 3_000, {}, 3_000],
    [7, 60_000, 3_000, { index: "7", wait: "60000ms" }, 66_750],
    [7, 0.5, 100, { index: "7", wait: "1ms" }, 100.531_25],
    [7, 600_000, 3_000, { index: "7", wait: "600000ms" }, 640_500],
  ] as const) {
    it(`of ${waitMs} ms at index ${index} is given up after ${timeoutMs} ms`, () => {
      assert.deepEqual(blockingParameters({ index, waitMs }), parameters);
      assert.equal(blockingTimeoutMs({ index, waitMs }, requestTimeoutMs), timeoutMs);
    });
  }
});

describe("the end of the loop", () => {
  for (const [what, perSecond, ask] of [
    ["while it waits for its turn", 0.001, async () => ({ index: 1 })],
    ["while it waits after a failure", 1_000, () => Promise.reject(new Error("cut"))],
  ] as const) {
    it(`comes at once ${what}, and leaves no timer behind`, async () => {
      const clock = new FakeClock();
      const over = new AbortController();
      let told = 0;
      const loop = followIndex({
        clock,
        backoff: { baseDelayMs: 60_000, maxDelayMs: 60_000, random: () => 0.999 },
        maxRequestsPerSecond: perSecond,
        signal: over.signal,
        ask,
        onAnswer: () => void told++,
        onReset: () => {},
        onFailure: () => void told++,
        onRecovery: () => {},
      });
      await clock.advance(1);
      assert.ok(told > 0 && clock.pending > 0);
      over.abort();
      await loop;
      assert.equal(clock.pending, 0);
    });
  }
});
