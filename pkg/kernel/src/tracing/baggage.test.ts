import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { currentContext, runInContext } from "../context.ts";
import { createLogger } from "../logger/pino.ts";
import { MemoryLog } from "../testing/memory-log.ts";
import { type Baggage, formatBaggage, parseBaggage } from "./baggage.ts";
import { currentBaggage, withBaggage } from "./current-baggage.ts";
import { createTracing } from "./tracing.ts";

const plain = (baggage: Baggage | undefined): unknown =>
  baggage &&
  Object.fromEntries(
    [...baggage].map(([name, { value, properties }]) => [name, properties === undefined ? value : [value, properties]]),
  );
const members = (count: number, value = "v"): string =>
  Array.from({ length: count }, (_, index) => `k${index}=${value}`).join(",");

describe("parseBaggage", () => {
  const cases: Readonly<Record<string, readonly [header: string | undefined, expected: unknown]>> = {
    "nothing of a header that is absent": [undefined, undefined],
    "nothing of an empty header": ["", undefined],
    "one member": ["tenant=acme", { tenant: "acme" }],
    "several, with blanks around names and values": ["a = 1 ,\tb=2\t", { a: "1", b: "2" }],
    "an empty value": ["a=", { a: "" }],
    "a value with =": ["a=b=c==", { a: "b=c==" }],
    escapes: ["name=J%C3%BCrgen%2C%20x%25", { name: "Jürgen, x%" }],
    "properties as they came": ["a=1;ttl=30 ; private,b=2;", { a: ["1", "ttl=30 ; private"], b: "2" }],
    "the last of two of one name": ["a=1,b=2,a=3", { a: "3", b: "2" }],
    "the good ones beside a name with a space": ["a=1,b c=2,d=3", { a: "1", d: "3" }],
    "the good ones beside a member without =": ["a=1,junk,;;;,d=3", { a: "1", d: "3" }],
    "the good ones beside one without a name": ["=1,d=3", { d: "3" }],
    "the good ones beside a broken escape": ["a=%E0%A4%A,b=%zz,d=3", { d: "3" }],
    "the good ones beside a quote, a backslash, a space in a value": ['a="1",b=\\,c=1 2,d=3', { d: "3" }],
    "the good ones beside what is no ASCII": ["a=é,é=1,d=3", { d: "3" }],
    "the good ones beside a control character": ["a=\u0000,b=\r\nx,d=3", { d: "3" }],
    "a name that is a trap, as a name": [
      "__proto__=1,constructor=2",
      Object.fromEntries([
        ["__proto__", "1"],
        ["constructor", "2"],
      ]),
    ],
    "64 of 70": [members(70), plain(parseBaggage(members(64)))],
    "nothing of delimiters": [",;=,".repeat(2_000), undefined],
    "what ends within 8192 characters": [`a=1,b=${"x".repeat(9_000)},c=3`, { a: "1" }],
    "nothing of one member of more": [`b=${"x".repeat(9_000)}`, undefined],
  };
  for (const [name, [header, expected]] of Object.entries(cases)) {
    it(`reads ${name}`, () => assert.deepEqual(plain(parseBaggage(header)), expected));
  }

  it("takes 8192 characters, and of one more the members before", () => {
    const fitting = `a=1,b=${"x".repeat(8_186)}`;
    assert.equal(fitting.length, 8_192);
    assert.equal(parseBaggage(fitting)?.size, 2);
    assert.equal(parseBaggage(`${fitting}x`)?.size, 1);
  });

  it("looks at no more than the first 8192 characters of delimiter soup, each of them a few times", () => {
    const text = ",a;=;,=;a".repeat(100_000);
    const started = process.cpuUsage();
    for (let count = 0; count < 10; count++) parseBaggage(text);
    const bounded = process.cpuUsage(started).user;
    const again = process.cpuUsage();
    for (let count = 0; count < 10; count++) text.split(",");
    assert.ok(bounded < process.cpuUsage(again).user, "less than splitting it");
  });
});

describe("formatBaggage", () => {
  it("writes what is read as the same again", () => {
    const header = "a=1;ttl=30,name=J%C3%BCrgen%2C%20x%25,b=c==";
    assert.equal(formatBaggage(parseBaggage(header)), "a=1;ttl=30,name=J%C3%BCrgen%2C%20x%25,b=c==");
  });

  it("writes nothing for nothing", () => {
    assert.equal(formatBaggage(undefined), undefined);
    assert.equal(formatBaggage(new Map()), undefined);
  });

  it("keeps to 64 members and 8192 bytes", () => {
    const many: Baggage = new Map(Array.from({ length: 70 }, (_, index) => [`k${index}`, { value: "v" }]));
    assert.equal(formatBaggage(many)?.split(",").length, 64);
    const wide: Baggage = new Map([
      ["a", { value: "1" }],
      ["b", { value: "ü".repeat(5_000) }],
      ["c", { value: "3" }],
    ]);
    assert.equal(formatBaggage(wide), "a=1,c=3");
  });

  it("writes half of a character as the replacement for it", () => {
    assert.equal(formatBaggage(new Map([["a", { value: "\ud800" }]])), "a=%EF%BF%BD");
  });
});

describe("currentBaggage and withBaggage", () => {
  it("is empty outside of a request", () => assert.equal(currentBaggage().size, 0));

  it("adds to what came, takes away, and leaves what is outside as it was", async () => {
    const baggage = parseBaggage("tenant=acme,run=7");
    await runInContext({ requestId: "r1", baggage }, async () => {
      await withBaggage({ run: undefined, region: "eu, west" }, async () => {
        await Promise.resolve();
        assert.deepEqual(plain(currentBaggage()), { tenant: "acme", region: "eu, west" });
        assert.equal(currentContext()?.requestId, "r1");
        await createTracing().withSpan("below", {}, () => assert.equal(currentBaggage().get("tenant")?.value, "acme"));
      });
      assert.deepEqual(plain(currentBaggage()), { tenant: "acme", run: "7" });
    });
  });

  it("works outside of a request too", () => {
    withBaggage({ job: "nightly" }, () => assert.equal(currentBaggage().get("job")?.value, "nightly"));
  });

  for (const name of ["", "a b", "a,b", "ü", "a=b"]) {
    it(`refuses the name ${JSON.stringify(name)}`, () => {
      assert.throws(() => withBaggage({ [name]: "1" }, () => {}), { code: "ERR_OPTION_TYPE", message: /^baggage / });
    });
  }

  it("refuses more than is passed on", () => {
    const many = Object.fromEntries(Array.from({ length: 65 }, (_, index) => [`k${index}`, "v"]));
    assert.throws(() => withBaggage(many, () => {}), { code: "ERR_OPTION_RANGE", message: /65 members/ });
    assert.throws(() => withBaggage({ a: "ü".repeat(2_000) }, () => {}), {
      code: "ERR_OPTION_RANGE",
      message: /12002 bytes/,
    });
  });

  it("is in no log line", async () => {
    const destination = new MemoryLog();
    const log = await createLogger({ destination });
    runInContext({ requestId: "r1", baggage: parseBaggage("tenant=acme") }, () => log.info("worked"));
    assert.equal(destination.lines.length, 1);
    assert.doesNotMatch(JSON.stringify(destination.lines), /acme|tenant|baggage/);
  });
});
