import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, it } from "node:test";
import { checkLayers } from "./check.ts";
import type { LayerTable } from "./tree.ts";

const table: LayerTable = {
  layers: [["pkg/low"], ["pkg/left", "pkg/right"], ["cmd/*", "examples/*"]],
  vendors: { pg: ["pkg/left/src/postgres"], zod: ["pkg", "cmd"], "@scope/*": ["pkg/left"], "@scope/api": ["pkg/low"] },
  testHelpers: ["scripts/servers"],
  standIns: ["pkg/left/src/stand-in.ts"],
  loaders: ["pkg/left/src/loader.ts"],
  leastModules: 1,
};

/** A repository without a fault: `low` below `left` and `right`, and a command above all. */
const sound: Readonly<Record<string, string>> = {
  "package.json": manifest("root", {}, { devDependencies: { ajv: "8.0.0" } }),
  "scripts/servers/index.ts": "",
  "pkg/low/package.json": manifest("@p/low", {}),
  "pkg/low/src/index.ts": `import "node:fs";\nexport const low = 1;\n`,
  "pkg/low/src/testing/index.ts": `export const fake = 1;\n`,
  "pkg/left/package.json": manifest("@p/left", { "@p/low": "1.0.0", pg: "8.0.0" }),
  "pkg/left/src/index.ts": `import { low } from "@p/low";\nexport * from "./postgres/index.ts";\n`,
  "pkg/left/src/postgres/index.ts": `import pg from "pg";\nexport const left = pg;\n`,
  "pkg/right/package.json": manifest("@p/right", {}),
  "pkg/right/src/index.ts": `export const right = 1;\n`,
  "cmd/app/package.json": manifest("app", { "@p/left": "1.0.0" }),
  "cmd/app/src/main.ts": `import { left } from "@p/left";\n`,
};

function manifest(name: string, dependencies: Record<string, string>, rest: object = {}): string {
  const exports = { ".": "./src/index.ts", "./testing": "./src/testing/index.ts" };
  return JSON.stringify({ name, version: "1.0.0", exports, dependencies, ...rest }, null, 2);
}

describe("checkLayers", () => {
  const folders: string[] = [];
  after(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));

  /** Checks the sound repository with `changes` laid over it; one set to undefined is left out. */
  async function check(changes: Record<string, string | undefined>, withTable = table): Promise<string[]> {
    const root = await mkdtemp(join(tmpdir(), "plinth-layers-"));
    folders.push(root);
    for (const [file, content] of Object.entries({ ...sound, ...changes })) {
      if (content === undefined) continue;
      await mkdir(join(root, dirname(file)), { recursive: true });
      await writeFile(join(root, file), content);
    }
    return checkLayers(root, withTable).violations.map(({ file, line, message }) => `${file}:${line}: ${message}`);
  }

  it("passes a sound repository", async () => {
    assert.deepEqual(await check({}), []);
  });

  it("passes a module for a thread that the manifest names", async () => {
    const imports = { "#thread": { "plinth-source": "./src/thread.ts", default: "./dist/thread.js" } };
    const changes = {
      "pkg/low/package.json": manifest("@p/low", {}, { imports }),
      "pkg/low/src/a.ts": `new Worker(new URL(import.meta.resolve("#thread")));`,
    };
    assert.deepEqual(await check({ ...changes, "pkg/low/src/thread.ts": "" }), []);
    assert.equal((await check(changes)).length, 1);
  });

  const cases: readonly (readonly [name: string, changes: Record<string, string | undefined>, expected: RegExp])[] = [
    [
      "an import upwards",
      { "pkg/low/src/a.ts": `\nimport { right } from "@p/right";` },
      /^pkg\/low\/src\/a\.ts:2: goes upwards from pkg\/low \(layer 0\) to pkg\/right \(layer 1\); pkg\/low may import no package$/,
    ],
    [
      "an import sideways",
      { "pkg/left/src/a.ts": `import { right } from "@p/right";` },
      /^pkg\/left\/src\/a\.ts:1: goes sideways from pkg\/left \(layer 1\) to pkg\/right \(layer 1\); pkg\/left may import pkg\/low$/,
    ],
    [
      "a module for a thread that the manifest does not name",
      { "pkg/low/src/a.ts": `new Worker(new URL(import.meta.resolve("#thread")));` },
      /^pkg\/low\/src\/a\.ts:1: imports "#thread", which "imports" of pkg\/low\/package\.json does not lead to a module$/,
    ],
    [
      "an upward import of types",
      { "pkg/low/src/a.ts": `import type { R } from "@p/right";` },
      /a\.ts:1: goes upwards/,
    ],
    ["an upward dynamic import", { "pkg/low/src/a.ts": `await import("@p/right");` }, /a\.ts:1: goes upwards/],
    [
      "an upward type expression",
      { "pkg/low/src/a.ts": `type A = typeof import("@p/right");` },
      /a\.ts:1: goes upwards/,
    ],
    ["an upward import in a test", { "pkg/low/src/a.test.ts": `import "@p/left";` }, /a\.test\.ts:1: goes upwards/],
    ["an import of a command", { "examples/x/a.ts": `import "app";` }, /^examples\/x\/a\.ts:1: goes sideways/],
    [
      "an upward dependency",
      { "pkg/low/package.json": manifest("@p/low", { "@p/right": "1.0.0" }) },
      /^pkg\/low\/package\.json:9: declares "@p\/right": goes upwards from pkg\/low/,
    ],
    [
      "a vendor outside its driver",
      { "pkg/left/src/a.ts": `import pg from "pg";` },
      /^pkg\/left\/src\/a\.ts:1: imports "pg" outside its driver; only pkg\/left\/src\/postgres may$/,
    ],
    [
      "a vendor's types outside its driver",
      { "pkg/left/src/a.ts": `import type { P } from "pg";` },
      /outside its driver/,
    ],
    [
      "a scoped vendor outside its driver",
      { "pkg/right/src/a.ts": `import "@scope/b/c";` },
      /"@scope\/b" outside its driver; only pkg\/left may$/,
    ],
    [
      "a scoped vendor with a row of its own",
      { "pkg/left/src/a.ts": `import "@scope/api";` },
      /"@scope\/api" outside its driver; only pkg\/low may$/,
    ],
    [
      "a vendor that nobody has placed",
      { "pkg/left/src/a.ts": `import "lodash";` },
      /a\.ts:1: imports "lodash", which is not in the vendor table; add it to the table in scripts\/check-layers\.ts$/,
    ],
    [
      "an undeclared vendor",
      { "pkg/right/src/a.ts": `import "zod";` },
      /a\.ts:1: imports "zod", which pkg\/right\/package\.json does not declare; add it to its dependencies$/,
    ],
    [
      "an undeclared package of ours",
      { "pkg/right/src/a.ts": `import "@p/low";` },
      /imports "@p\/low", which pkg\/right\/package\.json does not declare/,
    ],
    [
      "an undeclared vendor in a test",
      { "pkg/right/src/a.test.ts": `import "lodash";` },
      /a\.test\.ts:1: imports "lodash", which pkg\/right\/package\.json does not declare/,
    ],
    [
      "a dependency that nobody imports",
      { "pkg/right/package.json": manifest("@p/right", { zod: "4.0.0" }) },
      /^pkg\/right\/package\.json:9: declares "zod", which no module of pkg\/right imports; remove it$/,
    ],
    [
      "a dependency that only a test imports",
      { "pkg/right/package.json": manifest("@p/right", { zod: "4.0.0" }), "pkg/right/src/a.test.ts": `import "zod";` },
      /declares "zod", which no module of pkg\/right imports/,
    ],
    [
      "a dependency on another's driver",
      { "pkg/right/package.json": manifest("@p/right", { pg: "8.0.0" }) },
      /declares "pg", which only pkg\/left\/src\/postgres may import$/,
    ],
    [
      "a dependency that nobody has placed",
      { "pkg/right/package.json": manifest("@p/right", { lodash: "4.0.0" }) },
      /declares "lodash", which is not in the vendor table; add it/,
    ],
    [
      "a floating version",
      { "pkg/left/package.json": manifest("@p/left", { "@p/low": "1.0.0", pg: "^8.0.0" }) },
      /package\.json:10: takes "pg" at "\^8\.0\.0"; pin one exact version, as in 1\.2\.3$/,
    ],
    [
      "a floating version of a tool",
      { "package.json": manifest("root", {}, { devDependencies: { ajv: "latest" } }) },
      /^package\.json:\d+: takes "ajv" at "latest"/,
    ],
    [
      "an old version of our own",
      { "pkg/left/package.json": manifest("@p/left", { "@p/low": "0.9.0", pg: "8.0.0" }) },
      /takes "@p\/low" at "0\.9\.0", which is now 1\.0\.0$/,
    ],
    [
      "a circle of files",
      {
        "pkg/low/src/a.ts": `import { b } from "./b.ts";`,
        "pkg/low/src/b.ts": `\nexport * from "./c.ts";`,
        "pkg/low/src/c.ts": `const a = await import("./a.ts");`,
      },
      /^pkg\/low\/src\/a\.ts:1: imports in a circle: pkg\/low\/src\/a\.ts → pkg\/low\/src\/b\.ts → pkg\/low\/src\/c\.ts → pkg\/low\/src\/a\.ts; cut one of these$/,
    ],
    [
      "a file that imports itself",
      { "pkg/low/src/a.ts": `export * from "./a.ts";` },
      /a\.ts:1: imports in a circle: pkg\/low\/src\/a\.ts → pkg\/low\/src\/a\.ts;/,
    ],
    [
      "a path out of the package",
      { "pkg/left/src/a.ts": `import "../../low/src/index.ts";` },
      /a\.ts:1: imports "\.\.\/\.\.\/low\/src\/index\.ts", which lies outside pkg\/left; import packages by name$/,
    ],
    [
      "a path to the scripts",
      { "pkg/left/src/a.ts": `import "../../../scripts/servers/index.ts";` },
      /lies outside pkg\/left/,
    ],
    [
      "a test's path to other scripts",
      { "pkg/left/src/a.test.ts": `import "../../../scripts/other.ts";` },
      /lies outside pkg\/left; import packages by name, or from scripts\/servers$/,
    ],
    [
      "a path that leads nowhere",
      { "pkg/left/src/a.ts": `import "./b.js";` },
      /a\.ts:1: imports "\.\/b\.js", which is not there \(pkg\/left\/src\/b\.js\)$/,
    ],
    ["a computed path", { "pkg/left/src/a.ts": "\n\nawait import(name);" }, /a\.ts:3: imports a computed path/],
    [
      "a subpath that is not exported",
      { "pkg/left/src/a.ts": `import "@p/low/src/index.ts";` },
      /which @p\/low does not export; it exports "@p\/low", "@p\/low\/testing"$/,
    ],
    [
      "its own package by name",
      { "pkg/low/src/a.ts": `import "@p/low";` },
      /imports its own package "@p\/low"; use a relative path$/,
    ],
    [
      "a test from outside tests",
      { "pkg/low/src/a.ts": `import "./b.test.ts";`, "pkg/low/src/b.test.ts": "" },
      /imports "\.\/b\.test\.ts", a test; only tests may$/,
    ],
    [
      "a package's test kit in production",
      { "pkg/left/src/a.ts": `import "@p/low/testing";` },
      /imports "@p\/low\/testing", which is for tests; only tests and src\/testing may$/,
    ],
    [
      "its own test kit in production",
      { "pkg/low/src/a.ts": `import "./testing/index.ts";` },
      /which is for tests; only tests and src\/testing may$/,
    ],
    ["a built-in without its prefix", { "pkg/low/src/a.ts": `import "fs";` }, /imports "fs"; write "node:fs"$/],
    [
      "a path of the machine",
      { "pkg/low/src/a.ts": `import "/etc/a.ts";` },
      /imports "\/etc\/a\.ts", which is neither a relative path nor a package$/,
    ],
    ["a package that is in no layer", { "pkg/new/src/a.ts": "" }, /^pkg\/new:1: is in no layer; add it to the table/],
  ];
  for (const [name, changes, expected] of cases) {
    it(`refuses ${name}`, async () => {
      const violations = await check(changes);
      assert.equal(violations.length, 1, violations.join("\n"));
      assert.match(violations[0]!, expected);
    });
  }

  const allowed: readonly (readonly [name: string, changes: Record<string, string>])[] = [
    [
      "a circle of types",
      { "pkg/low/src/a.ts": `import "./b.ts";`, "pkg/low/src/b.ts": `import type { A } from "./a.ts";` },
    ],
    ["vendors in tests", { "pkg/left/src/a.test.ts": `import "pg"; import "ajv";` }],
    [
      "a test's own package by name, test kits and test servers",
      {
        "pkg/low/src/a.test.ts": `import "@p/low"; import "@p/low/testing"; import "./testing/index.ts"; import "../../../scripts/servers/index.ts";`,
      },
    ],
    ["a test kit upon a lower test kit", { "pkg/left/src/testing/index.ts": `import "@p/low/testing";` }],
    ["a computed path in a loader", { "pkg/left/src/loader.ts": "await import(name);" }],
    ["a computed path in a test", { "pkg/low/src/a.test.ts": "await import(name);" }],
    [
      "the words in comments and strings",
      { "pkg/low/src/a.ts": "// import '@p/left'\nexport const a = `import \"pg\"`;" },
    ],
    [
      "built and installed files",
      { "pkg/low/dist/a.js": `import "@p/left";`, "pkg/low/node_modules/a/index.js": `require("b");` },
    ],
    ["an example without a package.json", { "examples/x/a.ts": `import "node:fs";` }],
  ];
  for (const [name, changes] of allowed) {
    it(`allows ${name}`, async () => assert.deepEqual(await check(changes), []));
  }

  it("refuses to pass when it has read no module at all", async () => {
    const nothing = Object.fromEntries(
      Object.keys(sound)
        .filter((file) => file.endsWith(".ts"))
        .map((file) => [file, undefined]),
    );
    const violations = await check(nothing);
    assert.ok(
      violations.some((line) => line.startsWith(".:1: has no module to check under ")),
      violations.join("\n"),
    );
  });

  it("refuses a package that has lost its modules", async () => {
    assert.deepEqual(await check({ "pkg/right/src/index.ts": undefined }), [
      "pkg/right:1: has 0 modules besides tests; expected 1 or more of a package, 1 or more elsewhere",
    ]);
  });

  it("refuses a table that names a package which is not there", async () => {
    assert.deepEqual(await check({}, { ...table, layers: [...table.layers, ["pkg/gone"]] }), [
      "pkg/gone:1: is in the table of scripts/check-layers.ts but is not there; remove its row",
    ]);
  });

  it("finds a circle between packages, beside the step upwards that closes it", async () => {
    const violations = await check({
      "pkg/low/package.json": manifest("@p/low", { "@p/left": "1.0.0" }),
      "pkg/low/src/a.ts": `import "@p/left";`,
    });
    const circle = "pkg/left:1: imports in a circle: pkg/left → pkg/low → pkg/left; cut one of these";
    assert.ok(violations.includes(circle), violations.join("\n"));
  });
});
