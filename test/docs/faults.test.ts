import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";

const root = join(import.meta.dirname, "../..");
const rows = readFileSync(join(root, "docs/faults.md"), "utf8")
  .split("\n")
  .flatMap((line) => {
    const [, number, , tests = ""] = /^\| (\d+) \| ([^|]+) \| ([^|]+) \|$/.exec(line) ?? [];
    if (number === undefined) return [];
    return [{ number: Number(number), tests: [...tests.matchAll(/`([^`]+)`: "([^"]+)"/g)] }];
  });

describe("the page of faults", () => {
  it("has each of them in order", () => {
    assert.deepEqual(
      rows.map(({ number }) => number),
      Array.from({ length: 37 }, (_, at) => at + 1),
    );
  });

  it("names tests that are there, at least one for each", () => {
    const missing = rows.flatMap(({ number, tests }) =>
      tests.length === 0
        ? [`${number}: no test`]
        : tests
            .filter(([, file = "", title = ""]) => {
              const path = join(root, file);
              return !existsSync(path) || !readFileSync(path, "utf8").includes(title);
            })
            .map(([text]) => `${number}: ${text}`),
    );
    assert.deepEqual(missing, []);
  });
});
