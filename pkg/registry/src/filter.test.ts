import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isEmptyFilter, keyOf, toSelection } from "./filter.ts";
import { toInstance } from "./instance.ts";
import type { InstanceFilter, NewInstance } from "./registry.ts";

const one = (id: string, more: Partial<NewInstance> = {}): NewInstance => ({
  service: "notes",
  id,
  host: "127.0.0.1",
  ports: { http: 3_000 },
  ...more,
});
const all = [
  one("a", { version: "1.9.0", zone: "z1", tags: ["blue", "spot"], metadata: { team: "core" } }),
  one("b", { version: "2.0", zone: "z1", tags: ["blue"], ports: { grpc: 3_001 } }),
  one("c", { version: "2.0.1", zone: "z2", metadata: { team: "core", "build-id": "7" } }),
  one("d", { version: "20.1", zone: "z2", ports: { http: 3_000, grpc: 3_001 } }),
  one("e"),
].map((given) => toInstance(given));
const select = (filter: InstanceFilter): string =>
  toSelection(filter)(all)
    .map(({ id }) => id)
    .join("");

describe("a filter", () => {
  const cases: readonly (readonly [what: string, filter: InstanceFilter, ids: string])[] = [
    ["nothing", {}, "abcde"],
    ["a version, exactly", { version: "2.0" }, "b"],
    ["the beginning of a version, and no longer number", { version: "2.*" }, "bc"],
    ["any version at all", { version: "*" }, "abcd"],
    ["a zone", { zone: "z2" }, "cd"],
    ["all of several tags", { tags: ["spot", "blue"] }, "a"],
    ["metadata", { metadata: { team: "core" } }, "ac"],
    ["metadata that objects have by themselves", { metadata: { constructor: "Object" } }, ""],
    ["a protocol", { protocol: "grpc" }, "bd"],
    ["everything together", { version: "2.*", zone: "z1", tags: ["blue"], protocol: "grpc" }, "b"],
    ["a preferred zone", { preferZone: "z1" }, "ab"],
    ["a preferred zone that has none", { preferZone: "z9" }, "abcde"],
    ["a preferred zone, as long as it has enough", { preferZone: { zone: "z1", atLeast: 2 } }, "ab"],
    ["a preferred zone that has too few", { preferZone: { zone: "z1", atLeast: 3 } }, "abcde"],
    ["a preferred zone with its share", { preferZone: { zone: "z1", atLeastRatio: 0.4 } }, "ab"],
    ["a preferred zone with less than its share", { preferZone: { zone: "z1", atLeastRatio: 0.41 } }, "abcde"],
    ["a preferred zone among those that the rest takes", { protocol: "grpc", preferZone: "z2" }, "d"],
    ["a preferred zone with none that the rest takes", { version: "1.9.0", preferZone: "z2" }, "a"],
  ];
  for (const [what, filter, ids] of cases) it(`takes ${what}`, () => assert.equal(select(filter), ids));

  it("means the same however it is written", () => {
    assert.equal(keyOf({ tags: ["b", "a", "a"] }), keyOf({ tags: ["a", "b"] }));
    assert.equal(keyOf({ metadata: { a: "1", b: "2" } }), keyOf({ metadata: { b: "2", a: "1" } }));
    assert.equal(keyOf({ preferZone: "z1" }), keyOf({ preferZone: { zone: "z1", atLeast: 1 } }));
    assert.deepEqual([isEmptyFilter({ tags: [], metadata: {} }), isEmptyFilter({ zone: "z1" })], [true, false]);
  });

  it("never means the same as another, whatever is in its texts", () => {
    const words = ["", "-", "1:a", "a", "a#1:a", "=", "a\u0000"];
    const texts = [undefined, ...words];
    const filters = [
      ...texts.flatMap((version) => texts.map((zone) => ({ version, zone }))),
      ...words.flatMap((zone) => [{ preferZone: zone }, { preferZone: { zone, atLeast: 2 } }]),
      ...words.flatMap((tag) => [
        { tags: [tag] },
        ...words.filter((other) => other > tag).map((other) => ({ tags: [tag, other] })),
      ]),
      ...words.flatMap((key) => words.map((value) => ({ metadata: { [key]: value } }))),
      { preferZone: { zone: "a", atLeastRatio: 0.5 } },
      { protocol: "http" } as const,
      { protocol: "grpc" } as const,
      { zone: "a", tags: ["a"], metadata: { a: "a", b: "a" } },
    ];
    assert.equal(new Set(filters.map(keyOf)).size, filters.length);
  });

  for (const version of ["", "*.1", "1.*.2", "1**"]) {
    it(`refuses the version ${JSON.stringify(version)}, and says what one is`, () => {
      assert.throws(() => toSelection({ version }), { code: "ERR_REGISTRY_FILTER", message: /^version of a filter / });
    });
  }

  for (const preferZone of [
    { zone: "z", atLeast: 0 },
    { zone: "z", atLeastRatio: 1.1 },
    { zone: "z", atLeast: NaN },
  ]) {
    it(`refuses ${JSON.stringify(preferZone)}`, () => {
      assert.throws(() => toSelection({ preferZone }), { code: "ERR_OPTION_RANGE", message: /^preferZone\.atLeast/ });
    });
  }
});
