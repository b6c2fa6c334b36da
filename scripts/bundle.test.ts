import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { bundlePackage } from "./bundle.ts";

/** A package as the compiler leaves it: two entries that share a module, and a part that is loaded later and shares another. */
const files = {
  "package.json": JSON.stringify({
    name: "@plinth/toy",
    type: "module",
    exports: { ".": { default: "./dist/index.js" }, "./testing": { default: "./dist/testing.js" } },
    imports: { "#thread": { default: "./dist/thread.js" } },
  }),
  "dist/shared.js": "export let count = 0; export const add = () => { count += 1; };",
  "dist/both.js": 'import "node:fs"; export const both = Symbol("both");',
  "dist/index.js": `
    import { add, count } from "./shared.js";
    export { both } from "./both.js";
    export const counted = () => { add(); return count; };
    export const later = () => import("./later.js");
    export const threadUrl = () => import.meta.resolve("#thread");`,
  "dist/later.js": 'import { count } from "./shared.js"; export const seen = () => count;',
  "dist/thread.js":
    'import { parentPort } from "node:worker_threads"; import { both } from "./both.js"; parentPort?.postMessage(String(both));',
  "dist/testing.js": 'export { both } from "./both.js";',
};

describe("bundlePackage", () => {
  let folder: string;
  const load = (path: string): Promise<Record<string, (...args: unknown[]) => unknown>> =>
    import(pathToFileURL(join(folder, path)).href);

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "plinth-bundle-"));
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), text);
    }
    bundlePackage(folder);
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it("has the main entry load one file, whatever else shares with it", async () => {
    assert.equal((await readFile(join(folder, "dist/index.js"), "utf8")).match(/from "/g)?.length, 1);
    const core = await readFile(join(folder, "dist/parts/core.js"), "utf8");
    assert.doesNotMatch(core, /from "\./);
  });

  it("exports what the entries exported, and no more", async () => {
    assert.deepEqual(Object.keys(await load("dist/index.js")), ["both", "counted", "later", "threadUrl"]);
    assert.deepEqual(Object.keys(await load("dist/testing.js")), ["both"]);
  });

  it("leaves what a thread runs where the manifest says that it is", async () => {
    const { threadUrl } = await load("dist/index.js");
    const [said] = await once(new Worker(new URL(String(threadUrl?.()))), "message");
    assert.equal(said, "Symbol(both)");
  });

  it("keeps one of each module, for other entries and for what is loaded later", async () => {
    const [main, testing] = [await load("dist/index.js"), await load("dist/testing.js")];
    assert.equal(main["both"], testing["both"]);
    assert.equal(main["counted"]?.(), 1);
    const later: unknown = await main["later"]?.();
    assert.ok(typeof later === "object" && later !== null && "seen" in later && typeof later.seen === "function");
    assert.equal(later.seen(), 1);
    main["counted"]?.();
    assert.equal(later.seen(), 2);
  });
});
