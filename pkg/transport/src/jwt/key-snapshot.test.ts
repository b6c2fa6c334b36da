import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { KeyKeeper } from "./key-keeper.ts";
import { KeySnapshot } from "./key-snapshot.ts";

const root = mkdtempSync(join(tmpdir(), "plinth-keys-"));
after(() => rmSync(root, { recursive: true }));
let folders = 0;

const x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const setOf = (kid: string): string => JSON.stringify({ keys: [{ kty: "EC", crv: "P-256", x, y, kid }] });
const hourMs = 3_600_000;

/** A keeper whose snapshot is in a folder of its own unless told otherwise, after its first fetch. */
async function kept(answer: () => string | Promise<string>, folder = join(root, `${++folders}`), laterMs = 0) {
  const clock = new FakeClock();
  await clock.advance(10 * hourMs + laterMs);
  const told: string[] = [];
  const snapshot = new KeySnapshot({ folder, name: "main", issuer: "issuer", url: "https://issuer.example/jwks" });
  const keeper = new KeyKeeper({
    fetchText: async () => answer(),
    clock,
    refreshMs: hourMs,
    keepMs: 4 * hourMs,
    snapshot,
    onSnapshot: (what, detail) => told.push(`${what}: ${detail}`),
  });
  keeper.start();
  await keeper.available();
  await keeper.saved();
  keeper.close();
  return { keeper, clock, told, snapshot, folder };
}

const down = (): string => {
  throw new Error("down");
};

describe("the snapshot of a key set", () => {
  it("is written whole, for its owner only, and serves a start while the issuer is down, flagged and with its true age", async () => {
    const { folder, snapshot, keeper } = await kept(() => setOf("a"));
    assert.equal(keeper.isFromSnapshot, false);
    assert.equal(statSync(snapshot.file).mode & 0o777, 0o600);
    assert.equal(statSync(folder).mode & 0o777, 0o700);
    assert.deepEqual(readdirSync(folder), ["main.jwks.json"], "nothing is left beside it");
    const cold = await kept(down, folder, hourMs);
    assert.deepEqual(
      [cold.keeper.current?.has("a"), cold.keeper.isFromSnapshot, cold.keeper.ageMs],
      [true, true, hourMs],
    );
    assert.deepEqual(cold.told, ["used: 3600 s old"]);
    await cold.clock.advance(4 * hourMs);
    assert.deepEqual([cold.keeper.current, cold.keeper.isFromSnapshot], [undefined, false], "too old now");
  });

  it("is at hand while the issuer hangs, and gives way to what the issuer says", async () => {
    const { folder } = await kept(() => setOf("a"));
    const gate = Promise.withResolvers<string>();
    const clock = new FakeClock();
    await clock.advance(10 * hourMs);
    const snapshot = new KeySnapshot({ folder, name: "main", issuer: "issuer", url: "https://issuer.example/jwks" });
    const keeper = new KeyKeeper({ fetchText: () => gate.promise, clock, refreshMs: hourMs, keepMs: hourMs, snapshot });
    keeper.start();
    assert.ok((await keeper.available())?.has("a"));
    gate.resolve(setOf("b"));
    const set = await keeper.refreshForUnknown("b");
    assert.deepEqual([set?.has("b"), set?.has("a"), keeper.isFromSnapshot], [true, false, false]);
    await keeper.saved();
    assert.match(readFileSync(snapshot.file, "utf8"), /"kid":"b"/);
    keeper.close();
  });

  it("is not there at the first start", async () => {
    const { keeper, told } = await kept(down);
    assert.deepEqual([keeper.current, told], [undefined, []]);
  });

  const spoilt: [string, (file: string) => void, RegExp][] = [
    ["too old", () => undefined, /too old to trust/],
    ["written by others", (file) => chmodSync(file, 0o666), /others than its owner/],
    ["cut off", (file) => writeFileSync(file, readFileSync(file, "utf8").slice(0, 40)), /refused/],
    ["empty", (file) => writeFileSync(file, ""), /refused/],
    ["too large", (file) => writeFileSync(file, " ".repeat(2_000_000)), /larger than/],
    ["of another issuer", (file) => edit(file, '"issuer":"issuer"', '"issuer":"other"'), /another issuer or URL/],
    ["of another URL", (file) => edit(file, "issuer.example", "evil.example"), /another issuer or URL/],
    ["without its time", (file) => edit(file, '"savedAtMs"', '"saved"'), /when it was written/],
    ["from the future", (file) => edit(file, '"savedAtMs":', '"savedAtMs":9'), /later than now/],
    ["with a private key", (file) => edit(file, '"kid"', '"d":"AAAA","kid"'), /private or symmetric/],
  ];
  for (const [what, spoil, why] of spoilt) {
    it(`is refused when it is ${what}, and the start goes on without it`, async () => {
      const { folder, snapshot } = await kept(() => setOf("a"));
      spoil(snapshot.file);
      const cold = await kept(down, folder, what === "too old" ? 5 * hourMs : 0);
      assert.equal(cold.keeper.current, undefined);
      assert.match(String(cold.told), /^refused: /);
      assert.match(String(cold.told), why);
    });
  }

  it("that cannot be written is told, and the keys are used all the same", async () => {
    const file = join(root, "a-file");
    writeFileSync(file, "");
    const { keeper, told } = await kept(() => setOf("a"), file);
    assert.ok(keeper.current?.has("a"));
    assert.match(String(told), /unwritten: /);
  });
});

function edit(file: string, from: string, to: string): void {
  const text = readFileSync(file, "utf8");
  assert.ok(text.includes(from));
  writeFileSync(file, text.replace(from, to));
}
