// Whether what the pages of docs/ show in TypeScript compiles: all of it in one run of the compiler, none of it is run here.
import assert from "node:assert/strict";
import { globSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import { runProgram, userEnvironment } from "../support/program.ts";

const root = join(import.meta.dirname, "../..");

/** What snippets take for granted that say it neither by `const` nor by `import`. */
const given: Readonly<Record<string, string>> = {
  GreeterService:
    'import { GreeterService } from "../../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";',
  app: 'declare const app: import("@plinth/transport").HttpApp;',
  createGrpcClientInterceptors: 'import { createGrpcClientInterceptors } from "@plinth/transport";',
  eventStream: 'import { eventStream } from "@plinth/transport";',
  instrumentFetch: 'import { instrumentFetch } from "@plinth/transport";',
  metrics: 'declare const metrics: import("@plinth/kernel").Metrics;',
  observeHttpClient: 'import { observeHttpClient } from "@plinth/transport";',
  pool: 'declare const pool: import("undici").Pool;',
  signal: "declare const signal: AbortSignal;",
  ticks: "declare function ticks(options: { signal: AbortSignal }): AsyncIterable<number>;",
  webSocket: 'import { webSocket } from "@plinth/transport";',
};

/** On one line, so that lines of the compiler's are one more than those of the snippet. */
function givenFor(text: string): string {
  const imports = text.match(/^import .*?;$/gms)?.join("") ?? "";
  const needed = Object.entries(given).filter(([name]) => {
    const word = new RegExp(`\\b${name}\\b`);
    return word.test(text) && !word.test(imports) && !new RegExp(`^const ${name}\\b`, "m").test(text);
  });
  return [...needed.map(([, line]) => line), "export {};"].join(" ");
}

interface Snippet {
  readonly page: string;
  /** Of its fence, from 1. */
  readonly line: number;
  readonly text: string;
}

/** One that begins with its name is a file, and others of its page may import it. */
function fileOf({ page, text }: Snippet, index: number): string {
  const [, name = `${index}.ts`] = /^\/\/ (\S+\.ts)\n/.exec(text) ?? [];
  return join(page.replaceAll(/\W/g, "-"), name);
}

async function snippetsOf(page: string): Promise<readonly Snippet[]> {
  const text = await readFile(join(root, page), "utf8");
  return Array.from(text.matchAll(/^```ts\n(.*?)^```$/gms), (match) => ({
    page,
    line: text.slice(0, match.index).split("\n").length,
    text: match[1] ?? "",
  }));
}

/** What the compiler says, with the page and line in the place of the file's. */
async function faultsIn(snippets: readonly Snippet[]): Promise<readonly string[]> {
  await mkdir(join(root, ".cache"), { recursive: true });
  const folder = await mkdtemp(join(root, ".cache/snippets-")); // below the repository, where the packages are found
  try {
    await writeFile(join(folder, "package.json"), '{ "type": "module" }\n');
    const compilerOptions = {
      noEmit: true,
      customConditions: ["plinth-source"],
      noUnusedLocals: false,
      noUnusedParameters: false,
      types: ["node"],
    };
    await writeFile(
      join(folder, "tsconfig.json"),
      JSON.stringify({ extends: "../../tsconfig.base.json", compilerOptions, include: ["**/*.ts"] }),
    );
    const files = new Map(snippets.map((snippet, index) => [fileOf(snippet, index), snippet]));
    assert.equal(files.size, snippets.length, "two files of a page have one name");
    for (const [file, { text }] of files) {
      await mkdir(dirname(join(folder, file)), { recursive: true });
      await writeFile(join(folder, file), `${givenFor(text)}\n${text}`);
    }
    const { stdout } = await runProgram(join(root, "node_modules/.bin/tsc"), ["--pretty", "false"], {
      folder,
      environment: userEnvironment(),
      limitMs: 100_000,
    });
    return stdout.split("\n").flatMap((said) => {
      const [, file = "", line = "", fault = ""] = /^(.+)\((\d+),\d+\): (.*)$/.exec(said) ?? [];
      const snippet = files.get(file);
      return snippet === undefined ? [] : [`${snippet.page}:${snippet.line + Number(line) - 1}: ${fault}`];
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

describe("the snippets of the pages", () => {
  it("compile, every one of them, and one that does not is told by its line", { timeout: 120_000 }, async () => {
    const docs = globSync("docs/{,how-to/}*.md", { cwd: root });
    const pages = [...docs, "pkg/transport/README.md"];
    const snippets = (await Promise.all(pages.map(snippetsOf))).flat();
    for (const page of ["docs/clients.md", "docs/servers.md", "docs/tracing.md", "docs/how-to/database.md"])
      assert.ok(
        snippets.some((snippet) => snippet.page === page),
        page,
      );
    const broken: Snippet = { page: "broken", line: 10, text: 'const count: number = 1;\nconst name: number = "a";\n' };
    const faults = await faultsIn([...snippets, broken]);
    assert.deepEqual(faults, ["broken:12: error TS2322: Type 'string' is not assignable to type 'number'."]);
  });
});
