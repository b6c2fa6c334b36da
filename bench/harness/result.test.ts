import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Sample } from "./measure.ts";
import type { Figure, Question, Target } from "./question.ts";
import { describeTarget, toJson, toMarkdown } from "./report.ts";
import { summarize } from "./result.ts";

const machine = {
  node: "v26.0.0",
  cpu: "A CPU",
  cores: 2,
  system: "linux",
  loadAverage: 0,
  commit: "abc",
  dirty: true,
  date: "2026-01-01T00:00:00.000Z",
};

const figures: readonly Figure[] = [
  { key: "cost", title: "cost µs", digits: 1, compared: "cost of each" },
  { key: "busy", title: "busy", digits: 0, percent: true },
  { key: "bytes", title: "bytes", digits: 0, compared: "bytes of each" },
];

const sample = (row: string, round: number, cost: number): Sample => ({
  row,
  round,
  // The peer does not tell its bytes.
  reading: { cost, busy: 0.25, ...(row === "ours" ? { bytes: 64 } : {}) },
});

function resultOf(targets: readonly Target[]) {
  const question: Question = {
    name: "which",
    sentence: "Which is it?",
    subject: "ours",
    figures,
    effort: { rounds: 3 },
    describe: ({ rounds }) => `Medians of ${rounds} rounds.`,
    shape: { connections: 64 },
    targets,
    prepare: async () => [],
  };
  // Rounds in which the machine slowed down: each row's worst round is another one.
  const samples = [
    [sample("peer", 1, 10), sample("ours", 1, 20)],
    [sample("peer", 2, 40), sample("ours", 2, 22)],
    [sample("peer", 3, 10), sample("ours", 3, 90)],
  ].flat();
  const roles = new Map([["peer", "peer"] as const, ["ours", "plinth"] as const]);
  return summarize(question, roles, samples, { rounds: 3 }, machine);
}

describe("summarize", () => {
  it("takes each row's median, and ratios of medians beside those of each round", () => {
    const { rows, ratios } = resultOf([]);
    assert.deepEqual(
      rows.map(({ name, role, figures: { cost } }) => [name, role, cost?.median, cost?.min, cost?.max]),
      [
        ["peer", "peer", 10, 10, 40],
        ["ours", "plinth", 22, 20, 90],
      ],
    );
    assert.deepEqual(ratios, [{ row: "ours", comparedTo: "peer", figure: "cost", value: 2.2, min: 22 / 40, max: 9 }]);
  });

  it("meets a target up to its ratio and misses it beyond", () => {
    const met = (atMost: number) => resultOf([{ row: "ours", comparedTo: "peer", atMost }]).targets[0]?.met;
    assert.deepEqual([met(2.3), met(2.2), met(2.19)], [true, true, false]);
  });

  it("judges a figure by itself where the target names no other row", () => {
    const met = (atMost: number) => resultOf([{ row: "ours", figure: "cost", atMost }]).targets[0]?.met;
    assert.deepEqual([met(22), met(21.9)], [true, false]);
    assert.match(
      toMarkdown(resultOf([{ row: "ours", figure: "cost", atMost: 3 }])),
      /^\| ours, .+\| +22\.0 \| ≤ 3 MISSED \|$/m,
    );
  });

  it("refuses a target that names no row", () => {
    assert.throws(() => resultOf([{ row: "ours", comparedTo: "pear", atMost: 1 }]), {
      code: "ERR_BENCH_DEFINITION",
      message: 'no row is called "pear"; there are peer, ours',
    });
  });

  it("refuses a target of a figure that a row does not give", () => {
    assert.throws(() => resultOf([{ row: "ours", comparedTo: "peer", figure: "bytes", atMost: 1 }]), {
      code: "ERR_BENCH_DEFINITION",
      message: '"peer" has no figure "bytes"; it has cost, busy',
    });
  });
});

describe("toJson", () => {
  it("puts each row's figures beside its name, and leaves out what a row does not tell", () => {
    const { rows, shape } = JSON.parse(toJson(resultOf([])));
    assert.deepEqual(shape, { connections: 64, rounds: 3 });
    const [peer, ours] = rows;
    assert.deepEqual(Object.keys(peer), ["name", "role", "cost", "busy"]);
    assert.deepEqual(ours.cost, { median: 22, min: 20, max: 90, rounds: [20, 22, 90] });
  });
});

describe("toMarkdown", () => {
  const text = toMarkdown(resultOf([{ row: "ours", comparedTo: "peer", atMost: 2 }]));

  it("shows each row with its spread", () => {
    assert.match(text, /^\| ours +\| plinth +\| +22\.0 \| +20\.0–90\.0 \| +25 % \| +64 \| +64–64 \|$/m);
  });
  it("shows a dash for what a row does not tell, and no ratio to it", () => {
    assert.match(text, /^\| peer +\| peer +\| +10\.0 \| +10\.0–40\.0 \| +25 % \| +– \| +– \|$/m);
    assert.doesNotMatch(text, /bytes of each/);
  });
  it("shows the ratio with its spread and its target", () => {
    assert.match(text, /^\| ours \/ peer +\| +2\.20 \| +0\.55–9\.00 \| ≤ 2 MISSED \|$/m);
  });
  it("says on what it was measured", () => {
    assert.match(
      text,
      /^Medians of 3 rounds\.\nNode v26\.0\.0, A CPU, 2 cores.*\nCommit abc with changes, 2026-01-01/m,
    );
  });
});

describe("describeTarget", () => {
  it("reads as a sentence", () => {
    const figure = "cost";
    assert.equal(describeTarget({ row: "plinth", comparedTo: "nginx", figure, atMost: 2.5 }), "plinth ≤ 2.5 × nginx");
    assert.equal(describeTarget({ row: "plinth", figure, atMost: 3 }), "cost of plinth ≤ 3");
  });
});
