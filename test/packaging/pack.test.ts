// What a user gets: every package built, packed, installed in an empty project, imported, type-checked and looked over.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, globSync, readFileSync, readdirSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, posix } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { startCollector } from "@plinth/telemetry/testing";
import { findImports } from "../../scripts/layers/imports.ts";
import { createTestDatabase } from "../support/database.ts";
import { ask } from "../support/http.ts";
import { startService } from "../support/service.ts";
import { chainOf } from "../support/traces.ts";

const root = join(import.meta.dirname, "../..");
const tools = join(root, "node_modules/.bin");
/** A user's service in either kind of module: in a project of its own it stands on the packages that are installed there. */
const tracedFiles = [
  "test/programs/traced-service.ts",
  "test/programs/traced-service.cjs",
  "test/programs/traced-service-parts.ts",
  "examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts",
];
// npm may have to fetch what the packages stand on.
const installLimitMs = 240_000;

interface Packed {
  readonly name: string;
  readonly folder: string;
  /** What an importer writes: `@plinth/kernel`, `@plinth/kernel/testing`. None of a program. */
  readonly entryPoints: readonly string[];
  readonly tarball: string;
}

const libraries = readdirSync(join(root, "pkg"))
  .map((name) => `pkg/${name}`)
  .filter((folder) => existsSync(join(root, folder, "src/index.ts")));
/** What is installed for its commands, and imported by nobody. */
const programs = readdirSync(join(root, "cmd"))
  .map((name) => `cmd/${name}`)
  .filter((folder) => JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8")).bin !== undefined);

/** Runs a program and returns what it printed; one that fails throws with that. */
async function run(command: string, args: readonly string[], cwd: string): Promise<string> {
  // A user has neither our export condition nor the variables of the npm and the test runner around this test.
  const ours = /^(npm_(package|lifecycle|config_local_prefix)|NODE_(OPTIONS|TEST_CONTEXT|V8_COVERAGE)$)/;
  const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !ours.test(key)));
  try {
    const { stdout, stderr } = await promisify(execFile)(command, args, { cwd, env, maxBuffer: 64 * 2 ** 20 });
    return stdout + stderr;
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    throw new Error(`${command} ${args.join(" ")} failed:\n${stdout}${stderr}`, { cause: error });
  }
}

async function pack(path: string, into: string): Promise<Packed> {
  const folder = join(root, path);
  const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const destination = join(into, path);
  await mkdir(destination, { recursive: true });
  await run("npm", ["pack", "--silent", "--pack-destination", destination], folder);
  const [file = ""] = readdirSync(destination);
  const entryPoints = Object.keys(manifest.exports ?? {}).map((subpath) => posix.join(manifest.name, subpath));
  return { name: manifest.name, folder, entryPoints, tarball: join(destination, file) };
}

describe("the packed packages", () => {
  let project: string;
  const packages: Packed[] = [];

  before(
    async () => {
      assert.ok(libraries.length > 0, "there is no package to pack");
      project = await mkdtemp(join(tmpdir(), "plinth-pack-"));
      await run(process.execPath, [join(root, "scripts/build.ts")], root);
      const tarballs = join(project, "tarballs");
      await mkdir(tarballs);
      packages.push(...(await Promise.all([...libraries, ...programs].map((path) => pack(path, tarballs)))));
      await writeFile(join(project, "package.json"), JSON.stringify({ type: "module", private: true }));
      const nodeTypes = JSON.parse(readFileSync(join(root, "package.json"), "utf8")).devDependencies["@types/node"];
      const wanted = [...packages.map(({ tarball }) => tarball), `@types/node@${nodeTypes}`];
      const quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefer-offline"];
      await run("npm", ["install", ...quiet, ...wanted], project);
    },
    { timeout: installLimitMs },
  );
  after(() => rm(project, { recursive: true, force: true }));

  it("hold every package of pkg/", () => {
    const installed = readdirSync(join(project, "node_modules/@plinth")).toSorted();
    assert.deepEqual(installed, readdirSync(join(root, "pkg")).toSorted());
  });

  it("load under plain Node, every entry point", async () => {
    for (const entryPoint of packages.flatMap(({ entryPoints }) => entryPoints)) {
      const script = `console.log(Object.keys(await import(${JSON.stringify(entryPoint)})).length)`;
      const exported = await run(process.execPath, ["--input-type=module", "--eval", script], project);
      assert.ok(Number(exported) > 0, `${entryPoint} exports nothing`);
    }
  });

  it("load from CommonJS under plain Node, every entry point", async () => {
    for (const entryPoint of packages.flatMap(({ entryPoints }) => entryPoints)) {
      const script = `console.log(Object.keys(require(${JSON.stringify(entryPoint)})).length)`;
      const exported = await run(process.execPath, ["--input-type=commonjs", "--eval", script], project);
      assert.ok(Number(exported) > 0, `${entryPoint} exports nothing`);
    }
  });

  it("have a command line that reads a main of the project, in TypeScript and in JavaScript", async () => {
    const main = `import { coreModule, createApp } from "@plinth/kernel";
process.exitCode = await createApp({ name: "packed", modules: [coreModule] }).run();\n`;
    for (const file of ["main.ts", "main.js"]) {
      await writeFile(join(project, file), main);
      assert.match(
        await run(join(project, "node_modules/.bin/plinth"), ["graph", file], project),
        /^packed: created\n/,
      );
      assert.match(await run(join(project, "node_modules/.bin/plinth"), ["config", file], project), /^log\.level /m);
    }
  });

  it("have a gateway that starts with its own routes, and stops at SIGTERM", async () => {
    const gateway = spawn(join(project, "node_modules/.bin/plinth-gateway"), [], {
      cwd: project,
      env: { PATH: process.env.PATH, PLINTH_GATEWAY_PORT: "0", PLINTH_OPS_PORT: "0" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const exited = once(gateway, "exit");
    const messages: unknown[] = [];
    for await (const line of createInterface(gateway.stdout)) {
      messages.push(JSON.parse(line).message);
      if (messages.at(-1) === "app ready") gateway.kill("SIGTERM");
    }
    assert.deepEqual(await exited, [0, null]);
    assert.ok(messages.includes("app stopped"), messages.join("\n"));
  });

  it("have what a thread of the gateway runs where its manifest says that it is", async () => {
    const installed = join(project, "node_modules/@plinth/gateway");
    const { imports } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
    const thread = new Worker(join(installed, imports["#document-thread"].default), { execArgv: [] });
    thread.postMessage({ text: "routes: [1]", name: "gateway.yaml" });
    const [{ faults }] = await once(thread, "message");
    assert.deepEqual(faults, [{ key: "routes.0", problem: "expected object, got 1", source: "gateway.yaml:1" }]);
  });

  for (const [ending, own] of [
    ["ts", []],
    ["cjs", ["internal greet"]],
  ] as const) {
    const what = ending === "ts" ? "an ES module" : "CommonJS";
    it(`trace HTTP, gRPC and SQL in ${what}, with no flag`, { timeout: 120_000 }, async () => {
      for (const file of tracedFiles) {
        await mkdir(join(project, dirname(file)), { recursive: true });
        await copyFile(join(root, file), join(project, file));
      }
      await using collector = await startCollector();
      await using database = await createTestDatabase();
      await using service = await startService("traced-service", {
        folder: project,
        ending,
        environment: {
          PLINTH_DATABASE_URL: database.url,
          OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
          OTEL_BSP_SCHEDULE_DELAY: "50",
        },
      });
      const traceId = (ending === "ts" ? "5" : "6").repeat(32);
      const headers = { traceparent: `00-${traceId}-${"b".repeat(16)}-01` };
      assert.deepEqual((await ask(`${service.url}/greet/Ada`, { headers })).json(), { message: "Hello, Ada" });
      const method = "plinth.examples.greeter.v1.GreeterService/Greet";
      const expected = ["server GET /greet/:name", ...own, `client ${method}`, `server ${method}`, "client SELECT"];
      assert.deepEqual(await chainOf(collector, traceId, expected.length), expected);
    });
  }

  it("load the one copy of each other that the project has", () => {
    const nested = globSync("node_modules/@plinth/*/node_modules/@plinth/*", { cwd: project });
    assert.deepEqual(nested, []);
  });

  it("type-check in a strict project that checks our declarations too", async () => {
    const entryPoints = packages.flatMap((packed) => packed.entryPoints);
    const lines = entryPoints.map((name, index) => `import * as entry${index} from ${JSON.stringify(name)};`);
    const uses = entryPoints.map((_, index) => `export type Entry${index} = keyof typeof entry${index};`);
    await writeFile(join(project, "consumer.ts"), [...lines, ...uses].join("\n"));
    const required = entryPoints.map((name, index) => `import entry${index} = require(${JSON.stringify(name)});`);
    await writeFile(join(project, "consumer.cts"), [...required, ...uses].join("\n"));
    const compilerOptions = {
      target: "es2024",
      lib: ["es2024", "esnext.disposable"],
      module: "nodenext",
      types: ["node"],
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: false,
      noEmit: true,
    };
    await writeFile(
      join(project, "tsconfig.json"),
      JSON.stringify({ compilerOptions, files: ["consumer.ts", "consumer.cts"] }),
    );
    const output = await run(join(tools, "tsc"), ["--pretty", "false", "--listFiles"], project).catch(
      (error: Error) => error.message,
    );
    for (const { name } of packages.filter(({ entryPoints }) => entryPoints.length > 0)) {
      assert.match(output, new RegExp(`/node_modules/${name}/dist/index\\.d\\.ts$`, "m"));
    }
    // Faults inside other people's declarations are theirs.
    const ours = output.split("\n").filter((line) => /^(consumer\.c?ts|node_modules\/@plinth\/)/.test(line));
    assert.deepEqual(ours, []);
  });

  it("name only files that are there, by the endings they have", () => {
    for (const { name } of packages) {
      const installed = join(project, "node_modules", name);
      const files = globSync("dist/**/*.{js,d.ts}", { cwd: installed });
      assert.ok(files.length > 0, `${name} has no dist`);
      for (const file of files) {
        for (const { specifier = "", line } of findImports(readFileSync(join(installed, file), "utf8"))) {
          if (!specifier.startsWith(".")) continue;
          // in a declaration, the name of a module stands for its declaration
          const path = file.endsWith(".d.ts") ? specifier.replace(/\.js$/, ".d.ts") : specifier;
          const there = specifier.endsWith(".js") && existsSync(join(installed, dirname(file), path));
          assert.ok(there, `${name}/${file}:${line} imports "${specifier}"`);
        }
      }
    }
  });

  it("hold code, declarations and their maps, and nothing else", () => {
    for (const { name } of packages) {
      const files = globSync("**/*.*", { cwd: join(project, "node_modules", name), exclude: ["node_modules/**"] });
      const strange = files.filter(
        (file) =>
          !/^(package\.json|README\.md|LICENSE|gateway\.yaml|dist\/(LICENSE\.zod|.*\.(js|js\.map|d\.ts)))$/.test(file),
      );
      assert.deepEqual(strange, [], name);
      assert.deepEqual(
        files.filter((file) => /\.test\./.test(file)),
        [],
        name,
      );
    }
  });

  it("pass publint and attw", { timeout: 120_000 }, async () => {
    for (const { folder, tarball, entryPoints } of packages) {
      await run(join(tools, "publint"), ["run", "--strict", tarball], folder);
      if (entryPoints.length > 0)
        await run(join(tools, "attw"), ["--profile", "esm-only", "--no-color", tarball], folder);
    }
  });

  it("are built in the order of what they declare", () => {
    for (const { name, folder } of packages) {
      const { dependencies = {} } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
      const { references } = JSON.parse(readFileSync(join(folder, "tsconfig.build.json"), "utf8"));
      const built = references.map(({ path }: { path: string }) => `@plinth/${posix.basename(posix.dirname(path))}`);
      const declared = Object.keys(dependencies).filter((dependency) => dependency.startsWith("@plinth/"));
      assert.deepEqual(built.toSorted(), declared.toSorted(), `${name}: tsconfig.build.json and package.json disagree`);
    }
  });
});
