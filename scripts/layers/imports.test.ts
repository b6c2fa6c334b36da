import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { findImports, replaceSpecifiers } from "./imports.ts";

/** What was found, short: `t` marks an import of types alone. */
function found(source: string): string[] {
  return findImports(source).map(
    ({ specifier, typeOnly, line }) => `${line}${typeOnly ? "t" : ""} ${specifier ?? "?"}`,
  );
}

describe("findImports", () => {
  const cases: readonly (readonly [name: string, source: string, expected: readonly string[]])[] = [
    ["a side effect", `import "a";`, ["1 a"]],
    ["a default", `import a from 'a'`, ["1 a"]],
    ["a namespace", `import * as a from "a"`, ["1 a"]],
    ["names over several lines", `import {\n  a,\n  type B, // from "no"\n} from "a";\nimport "b"`, ["4 a", "5 b"]],
    ["a default and names", `import a, { b } from "a";`, ["1 a"]],
    [
      "types alone",
      `import type { A } from "a"; import type B from "b"; import type * as C from "c"`,
      ["1t a", "1t b", "1t c"],
    ],
    ["inline types, whose import stays", `import { type A } from "a"`, ["1 a"]],
    ["a value called type", `import type from "a"; import type, { b } from "b"`, ["1 a", "1 b"]],
    ["a type called from", `import type from from "a"`, ["1t a"]],
    ["attributes", `import a from "./a.json" with { type: "json" }`, ["1 ./a.json"]],
    ["exports", `export * from "a"; export * as b from "b"; export { c, d as e } from "c"`, ["1 a", "1 b", "1 c"]],
    [
      "exports of types",
      `export type { A } from "a"; export type * from "b"; export type * as C from "c"`,
      ["1t a", "1t b", "1t c"],
    ],
    ["exports of its own", `export { a }; export type B = string; export const from = "x"; export default "y";`, []],
    ["a dynamic import", "await import('a'); import(`b`); import(\"c\", { with: {} })", ["1 a", "1 b", "1 c"]],
    ["a computed import", "import(path); import(`./${name}.ts`)", ["1 ?", "1 ?"]],
    ["the type of a module", `type A = typeof import("a");`, ["1t a"]],
    ["require", `const a = require("a"); import b = require("b"); a.require("no")`, ["1 a", "1 b"]],
    [
      "a require made by hand",
      `createRequire(import.meta.url).resolve("a"); createRequire(import.meta.url)("b"); require.resolve("c"); createRequire(x)`,
      ["1 a", "1 b", "1 c"],
    ],
    ["resolve", `import.meta.resolve("a"); import.meta.url`, ["1 a"]],
    ["a worker", `new Worker(new URL("./a.ts", import.meta.url)); new URL("./b.html", import.meta.url)`, ["1 ./a.ts"]],
    ["comments", `// import "a"\n/* import "b" */ /** export * from "c" */ import "d"`, ["2 d"]],
    ["strings", `const a = "import 'a'"; const b = 'it\\'s import "b"'; import "c"`, ["1 c"]],
    ["templates", "const a = `import \"a\" ${f(`${import('b')}`)} from \"c\"`; import 'd'", ["1 b", "1 d"]],
    ["braces inside a substitution", "`${{ a: `}` }.a} import \"x\"`; import 'd'", ["1 d"]],
    ["regular expressions", `const a = /['"\`/]/; const b = x.replace(/[/"]\\/"/g, ""); import "c"`, ["1 c"]],
    [
      "division",
      `const a = b / c; const d = (e) / f / "import 'x'".length; g[0] / h; i++ / j; k! / l; import "c"`,
      ["1 c"],
    ],
    ["an expression after a condition", `if (a) /"/.test(b); import "c"`, ["1 c"]],
    ["a negated expression", `if (!/"/.test(b)) return; return /'/.test(c); import "c"`, ["1 c"]],
    [
      "keys, methods and properties of those names",
      `a.import("x"); ({ import: 1, export: "y", require: "z" }); class B { import(a: C) {} }`,
      [],
    ],
    ["a first line for the shell", `#!/usr/bin/env "node\nimport "a"`, ["2 a"]],
    [
      "private names, generics and bigints",
      `class A<T> { #b = 1n; c<U>(x: Map<T, U>) { return x.size / 2; } } import "d"`,
      ["1 d"],
    ],
  ];
  for (const [name, source, expected] of cases) {
    it(`reads ${name}`, () => assert.deepEqual(found(source), expected));
  }

  it("ends on a source that does not", () => {
    for (const source of ["import", "import {", "`${", "/* ", '"', "export {", "import(", "export * as"]) {
      assert.deepEqual(found(source), []);
    }
  });
});

describe("replaceSpecifiers", () => {
  it("replaces specifiers and nothing else", () => {
    const source = `export { a } from './a.ts';\nconst text = "./a.ts";\ntype B = import("./b.ts").B;\n`;
    assert.equal(
      replaceSpecifiers(source, (specifier) => specifier.replace(/\.ts$/, ".js")),
      `export { a } from "./a.js";\nconst text = "./a.ts";\ntype B = import("./b.js").B;\n`,
    );
  });
});
