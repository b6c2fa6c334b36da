// Everything that must hold, stage by stage; each says how long it took, and one that fails fails the run.
// usage: npm test [-- STAGE... | -- PATH...]   a stage by its name, or test files by their path; coverage runs only by its name
import { globSync, readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { ServerError, findServer } from "./servers/index.ts";
import { batchFiles } from "./testing/batches.ts";
import { runCommand } from "./testing/command.ts";
import { runTests } from "./testing/run-tests.ts";

interface Stage {
  readonly name: string;
  /** Whether it runs beside its neighbours of which the same is said. */
  readonly isBeside?: true;
  /** @returns What went wrong, or undefined. */
  readonly run: () => Promise<string | undefined>;
}

const root = join(import.meta.dirname, "..");
const tool = (name: string) => join(root, "node_modules/.bin", name);
const script = (name: string) => join(import.meta.dirname, name);

const testsIn = (folders: readonly string[]) => folders.map((folder) => `${folder}/**/*.test.ts`);
/** As a user has it, with times that were promised: not beside more programs than there are processors. */
const wholeFolders = ["test/e2e", "test/packaging"];
/** Each takes seconds of a real outage: `npm run test:faults` runs them. */
const longFolder = "test/faults-long";
const testFolders = ["pkg", "cmd", "examples", "scripts", "bench", ...foldersIn("test")].filter(
  (folder) => !wholeFolders.includes(folder) && folder !== longFolder,
);
/** Each takes long: it keeps a process, so that no others wait for it. */
const longOnes = /[./](?:property|soak|types|readme)\.test\.ts$|\/(?:embedded|migrations)\/\w+\.test\.ts$/;
/**
 * What hangs on no version of Node runs on one: types are what the compiler says, a README is what one version shows, a PostgreSQL, its
 * migrations and an agent of Consul are programs of their own, and documents and hostile texts are read by the language alone.
 */
const onceOnly = [longOnes, /[./](?:fuzz|hostile|injection|openapi|graph)\.test\.ts$|\/consul\/[\w-]+\.test\.ts$/];

function foldersIn(folder: string): string[] {
  return readdirSync(join(root, folder)).map((name) => `${folder}/${name}`);
}

/** One that reads what is there, and prints at its end. */
function check(name: string, command: string, args: readonly string[]): Stage {
  return { name, isBeside: true, run: () => runCommand(command, args, { keepOutput: true }) };
}

const stages: readonly Stage[] = [
  check("format", tool("oxfmt"), ["--check"]),
  check("lint", tool("oxlint"), []),
  check("types", tool("tsc"), ["-p", "tsconfig.json"]),
  check("layers", process.execPath, [script("check-layers.ts")]),
  check("knip", tool("knip"), []),
  { name: "servers", isBeside: true, run: findServers },
  { name: "tests", run: testApart },
  { name: "whole", run: testWhole },
  { name: "node24", run: testOnNode24 },
];

/** Which lines of the packages their own tests run. It decides nothing and makes each test cost more, so it runs when it is asked for. */
const coverage: Stage = {
  name: "coverage",
  run: () => runTests({ node: process.execPath, patterns: testsIn(["pkg"]), coverage: true }),
};

/** Before the tests, so that what a server lacks is said once and not by every test that needs it. */
async function findServers(): Promise<string | undefined> {
  const faults: string[] = [];
  for (const name of ["consul", "prometheus", "promtool", "postgres", "pgbouncer", "redis-server"] as const) {
    try {
      const { bin } = await findServer(name);
      console.log(`${name} is ${bin}`);
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      faults.push(error.message);
    }
  }
  return faults.length > 0 ? faults.join("; ") : undefined;
}

/** Few start a process that others could share; the long ones among those keep one, so that nothing waits for them. */
function testApart(): Promise<string | undefined> {
  const paths = globSync(testsIn(testFolders), { cwd: root, exclude: ["**/node_modules/**"] });
  const { long = [], short = [] } = Object.groupBy(paths, (path) => (longOnes.test(path) ? "long" : "short"));
  const batches = batchFiles(short, { root, folder: ".cache/batches", count: 4 * availableParallelism() });
  return runTests({ node: process.execPath, patterns: [...long, ...batches], coverage: false });
}

function testWhole(): Promise<string | undefined> {
  const concurrency = availableParallelism();
  return runTests({ node: process.execPath, patterns: testsIn(wholeFolders), coverage: false, concurrency });
}

/** The packages promise Node 24; everything else here runs on the Node of the repository. */
async function testOnNode24(): Promise<string | undefined> {
  const folder = join(root, "test/node24");
  const fault = await runCommand(process.execPath, [script("install.mjs"), folder]);
  if (fault !== undefined) return fault;
  const node = join(folder, "node_modules/.bin/node");
  const patterns = globSync("pkg/*/src/**/*.test.ts", { cwd: root }).filter(
    (path) => !onceOnly.some((pattern) => pattern.test(path)),
  );
  const batches = batchFiles(patterns, { root, folder: ".cache/batches24", count: 4 * availableParallelism() });
  return runTests({ node, patterns: batches, coverage: false });
}

async function main(args: readonly string[]): Promise<void> {
  const paths = args.filter((arg) => /[/.*]/.test(arg));
  if (paths.length > 0) return finish(await runStages([testsAt(paths)]));
  const known = [...stages, coverage];
  const unknown = args.filter((arg) => !known.some(({ name }) => name === arg));
  if (unknown.length > 0) {
    console.error(`no stage ${unknown.join(", ")}; there are ${known.map(({ name }) => name).join(", ")}`);
    process.exitCode = 2;
    return;
  }
  finish(await runStages(args.length === 0 ? stages : known.filter(({ name }) => args.includes(name))));
}

function testsAt(paths: readonly string[]): Stage {
  const patterns = paths.map((path) => (/\.ts$|\*/.test(path) ? path : `${path.replace(/\/$/, "")}/**/*.test.ts`));
  return { name: "tests", run: () => runTests({ node: process.execPath, patterns, coverage: false }) };
}

async function runStages(chosen: readonly Stage[]): Promise<string[]> {
  const report: string[] = [];
  for (const group of groupsOf(chosen)) {
    console.log(`\n── ${group.map(({ name }) => name).join(", ")}`);
    const lines = group.map((stage) => runStage(stage));
    report.push(...(await Promise.all(lines)));
  }
  return report;
}

/** Those that run at once. */
function groupsOf(chosen: readonly Stage[]): Stage[][] {
  const groups: Stage[][] = [];
  for (const stage of chosen) {
    const last = groups.at(-1);
    if (stage.isBeside && last?.[0]?.isBeside) last.push(stage);
    else groups.push([stage]);
  }
  return groups;
}

/** @returns What is to be said of it. */
async function runStage({ name, run }: Stage): Promise<string> {
  const startedAt = performance.now();
  const fault = await run();
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
  const outcome = fault === undefined ? "ok    " : "FAILED";
  const line = `${outcome} ${name.padEnd(8)} ${seconds.padStart(6)} s${fault === undefined ? "" : `  ${fault}`}`;
  console.log(line);
  return line;
}

function finish(report: readonly string[]): void {
  console.log(`\n── all stages\n${report.join("\n")}`);
  if (report.some((line) => line.startsWith("FAILED"))) process.exitCode = 1;
}

await main(process.argv.slice(2));
