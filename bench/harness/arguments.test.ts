import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { effortOf, parseArguments } from "./arguments.ts";

describe("parseArguments", () => {
  it("leaves to the question what it is not told", () => {
    assert.deepEqual(parseArguments(["http-service"]), {
      do: "run",
      name: "http-service",
      effort: {},
      json: undefined,
      check: false,
    });
  });
  it("reads every option, before and after the name", () => {
    assert.deepEqual(
      parseArguments(["--check", "--rounds", "1", "http-service", "--seconds=2", "--json", "out.json"]),
      {
        do: "run",
        name: "http-service",
        effort: { rounds: 1, seconds: 2 },
        json: "out.json",
        check: true,
      },
    );
  });
  it("lists without a name", () => assert.deepEqual(parseArguments(["--list"]), { do: "list" }));
  it("helps", () => assert.deepEqual(parseArguments(["-h"]), { do: "help" }));

  for (const [argv, message] of [
    [[], /^which question\? --list names all$/],
    [["a", "b"], /^one question at a time, not also b$/],
    [["a", "--rounds", "0"], /^--rounds is a whole number from 1 to 9999, not "0"$/],
    [["a", "--seconds", "1.5"], /^--seconds is a whole number .* not "1.5"$/],
    [["a", "--seconds", ""], /^--seconds is a whole number .* not ""$/],
    [["a", "--round", "1"], /--round/],
    [["a", "--json"], /--json/],
    [["a", "--check=yes"], /--check/],
  ] as const) {
    it(`refuses ${JSON.stringify(argv)}`, () => {
      assert.throws(() => parseArguments(argv), { code: "ERR_BENCH_ARGUMENT", message });
    });
  }
});

describe("effortOf", () => {
  const windows = { name: "windows", effort: { rounds: 3, seconds: 5 } };
  const starts = { name: "starts", effort: { rounds: 20 } };

  it("takes the question's own unless told otherwise", () => {
    assert.deepEqual(effortOf(windows, {}), { rounds: 3, seconds: 5 });
    assert.deepEqual(effortOf(windows, { seconds: 1 }), { rounds: 3, seconds: 1 });
    assert.deepEqual(effortOf(starts, { rounds: 2 }), { rounds: 2 });
  });
  it("refuses the length of a window that a question does not have", () => {
    assert.throws(() => effortOf(starts, { seconds: 1 }), {
      code: "ERR_BENCH_ARGUMENT",
      message: "starts counts no window: it takes --rounds, and no --seconds",
    });
  });
});
