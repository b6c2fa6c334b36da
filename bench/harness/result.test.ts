import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Sample } from "./measure.ts";
import type { Question, Target } from "./question.ts";
import { describeTarget, toMarkdown } from "./report.ts";
import { cpuMicrosPerRequest, summarize } from "./result.ts";

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

/** One second's window of 1000 requests that took so many microseconds each. */
const sample = (row: string, round: number, micros: number): Sample => ({
  row,
  round,
  report: { requests: 1_000, seconds: 1, cpuSeconds: micros / 1_000, p50Ms: 1, p99Ms: 2, errors: 0, reasons: [] },
});

function resultOf(targets: readonly Target[]) {
  const question: Question = {
    name: "which",
    sentence: "Which is it?",
    subject: "ours",
    load: { connections: 64, path: "/", status: 200, bodyBytes: 79 },
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
  return summarize(question, roles, samples, { rounds: 3, seconds: 1 }, machine);
}

describe("cpuMicrosPerRequest", () => {
  it("divides CPU time by requests", () => {
    assert.equal(cpuMicrosPerRequest({ cpuSeconds: 2, requests: 100_000 }), 20);
  });
});

describe("summarize", () => {
  it("takes each row's median, and ratios of medians beside those of each round", () => {
    const { rows, ratios } = resultOf([]);
    assert.deepEqual(
      rows.map(({ name, role, cpuMicrosPerRequest: { median, min, max } }) => [name, role, median, min, max]),
      [
        ["peer", "peer", 10, 10, 40],
        ["ours", "plinth", 22, 20, 90],
      ],
    );
    assert.deepEqual(ratios, [{ row: "ours", comparedTo: "peer", value: 2.2, min: 22 / 40, max: 9 }]);
  });

  it("meets a target up to its ratio and misses it beyond", () => {
    const met = (atMost: number) => resultOf([{ row: "ours", comparedTo: "peer", atMost }]).targets[0]?.met;
    assert.deepEqual([met(2.3), met(2.2), met(2.19)], [true, true, false]);
  });

  it("refuses a target that names no row", () => {
    assert.throws(() => resultOf([{ row: "ours", comparedTo: "pear", atMost: 1 }]), {
      code: "ERR_BENCH_DEFINITION",
      message: 'no row is called "pear"; there are peer, ours',
    });
  });
});

describe("toMarkdown", () => {
  const text = toMarkdown(resultOf([{ row: "ours", comparedTo: "peer", atMost: 2 }]));

  it("shows each row with its spread", () => {
    assert.match(text, /^\| ours +\| plinth +\| +22\.0 \| +20\.0–90\.0 \| +1000 \| +1\.00 \| +2\.00 \| +2 % \|$/m);
  });
  it("shows the ratio with its spread and its target", () => {
    assert.match(text, /^\| ours \/ peer +\| +2\.20 \| +0\.55–9\.00 \| ≤ 2 MISSED \|$/m);
  });
  it("says on what it was measured", () => {
    assert.match(text, /Node v26\.0\.0, A CPU, 2 cores.*\nCommit abc with changes, 2026-01-01/);
  });
});

describe("describeTarget", () => {
  it("reads as a sentence", () => {
    assert.equal(describeTarget({ row: "plinth", comparedTo: "nginx", atMost: 2.5 }), "plinth ≤ 2.5 × nginx");
  });
});
