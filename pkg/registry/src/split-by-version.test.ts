import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toInstance } from "./instance.ts";
import type { Instance } from "./registry.ts";
import { pickVersion, splitByVersion } from "./split-by-version.ts";

const make = (id: string, version?: string): Instance =>
  toInstance({ service: "notes", id, host: "127.0.0.1", ports: { http: 1 }, version });
const all = [make("a", "1.0"), make("b", "1.1"), make("c", "2.0"), make("d")];
const ids = (instances: readonly Instance[] | undefined): string | undefined => instances?.map(({ id }) => id).join("");

describe("splitByVersion", () => {
  it("gives each version its part, and leaves out what has none", () => {
    const shares = splitByVersion(all, { "2.*": 5, "1.*": 15, "3.*": 80, "1.1": 0 });
    assert.deepEqual(
      shares.map(({ version, ratio, instances }) => [version, ratio, ids(instances)]),
      [
        ["2.*", 0.25, "c"],
        ["1.*", 0.75, "ab"],
      ],
    );
    assert.deepEqual(splitByVersion(all, { "3.*": 1 }), []);
    assert.equal(pickVersion([], "key"), undefined);
  });

  it("picks by a number, up to the last that there is", () => {
    const shares = splitByVersion(all, { "2.*": 1, "1.*": 3 });
    assert.deepEqual(
      [0, 0.2499, 0.25, 0.9999, 1].map((by) => ids(pickVersion(shares, by))),
      ["c", "c", "ab", "ab", "ab"],
    );
  });

  it("sends a key to the same version always, and keeps it on a canary that grows", () => {
    const keys = Array.from({ length: 20_000 }, (_, at) => `user-${at}`);
    const canary = (part: number): Set<string> => {
      const shares = splitByVersion(all, { "2.*": part, "1.*": 100 - part });
      return new Set(keys.filter((key) => ids(pickVersion(shares, key)) === "c"));
    };
    const [five, ten] = [canary(5), canary(10)];
    assert.ok(Math.abs(five.size / keys.length - 0.05) < 0.005, `${five.size} of ${keys.length}`);
    assert.ok(Math.abs(ten.size / keys.length - 0.1) < 0.007, `${ten.size} of ${keys.length}`);
    assert.deepEqual(
      [...five].filter((key) => !ten.has(key)),
      [],
    );
  });

  it("refuses parts and versions that are none", () => {
    for (const part of [-1, NaN, Infinity]) {
      assert.throws(() => splitByVersion(all, { "1.0": part }), {
        code: "ERR_OPTION_RANGE",
        message: /^shares\.1\.0 must be 0 or more/,
      });
    }
    assert.throws(() => splitByVersion(all, { "*.1": 1 }), { code: "ERR_REGISTRY_FILTER" });
  });
});
