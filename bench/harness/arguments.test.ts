import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseArguments } from "./arguments.ts";

describe("parseArguments", () => {
  it("takes three rounds of five seconds unless told otherwise", () => {
    assert.deepEqual(parseArguments(["http-service"]), {
      do: "run",
      name: "http-service",
      effort: { rounds: 3, seconds: 5 },
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
