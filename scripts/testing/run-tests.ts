// Runs test files under one Node, with limits on whatever hangs, and refuses a run that skipped some or ran none.
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, relative } from "node:path";
import type { Tally } from "./tally.ts";
import { runCommand } from "./command.ts";
import { limitFiles } from "./file-limit.ts";

export interface TestRun {
  /** The Node that runs the tests. */
  readonly node: string;
  /** Patterns of test files, from the repository's root. */
  readonly patterns: readonly string[];
  /** Whether to measure what lines of the packages the tests run. */
  readonly coverage: boolean;
  /** Files that run at the same time. Default: two more than there are processors, for many tests wait. */
  readonly concurrency?: number;
  /** One test, and one file, may take this long. Default 60_000. */
  readonly testLimitMs?: number;
  /** All of them may. Default 480_000. */
  readonly runLimitMs?: number;
  /** Beside the environment of this process. Default none. */
  readonly environment?: Readonly<Record<string, string>>;
}

const slowestShown = 10;
const failuresShown = 20;

const root = join(import.meta.dirname, "../..");

/** Runs the tests; what the runner prints goes to stdout. @returns what went wrong, each test that failed on a line of its own, or undefined. */
export async function runTests({
  node,
  patterns,
  coverage,
  concurrency = availableParallelism() + 2,
  testLimitMs = 60_000,
  runLimitMs = 480_000,
  environment: more = {},
}: TestRun): Promise<string | undefined> {
  const tallyPath = join(root, `.cache/test-tally-${process.pid}.json`);
  mkdirSync(join(root, ".cache"), { recursive: true });
  const reporters = [reporter("spec", "stdout"), reporter("./scripts/testing/tally.ts", tallyPath)];
  if (coverage) {
    mkdirSync(join(root, "coverage"), { recursive: true });
    reporters.push(reporter("lcov", join(root, "coverage/lcov.info")));
  }
  const args = [
    "--conditions=plinth-source",
    "--import=./scripts/testing/watchdog.ts",
    "--test",
    `--test-timeout=${testLimitMs}`,
    `--test-concurrency=${concurrency}`,
    ...(coverage ? coverageArguments : []),
    ...reporters.flat(),
    ...patterns,
  ];
  // What is compiled is kept from one test file to the next; lines would be counted less exactly with it.
  const environment = { ...(coverage ? {} : { NODE_COMPILE_CACHE: join(root, ".cache/compiled") }), ...more };
  // SIGINT makes the runner say which files it was running.
  const fault = await runCommand(node, args, { limitMs: runLimitMs, signal: "SIGINT", environment, watch: limitFiles });
  const tally = readTally(tallyPath);
  rmSync(tallyPath, { force: true });
  if (tally !== undefined) console.log(describeSlowest(tally));
  if (fault !== undefined) return [fault, ...describeFailures(tally)].join("\n");
  return judge(tally, patterns);
}

const coverageArguments = [
  "--experimental-test-coverage",
  "--test-coverage-include-all",
  "--test-coverage-include=pkg/*/src/**/*.ts",
  "--test-coverage-exclude=**/*.test.ts",
  "--test-coverage-exclude=**/gen/**",
];

function reporter(name: string, destination: string): string[] {
  return [`--test-reporter=${name}`, `--test-reporter-destination=${destination}`];
}

function readTally(path: string): Tally | undefined {
  try {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- written by our own reporter in this very run
    return JSON.parse(readFileSync(path, "utf8")) as Tally;
  } catch (error) {
    if (error instanceof SyntaxError || (error instanceof Error && "code" in error && error.code === "ENOENT")) {
      return undefined;
    }
    throw error;
  }
}

/** What the exit code does not tell: a run that says nothing about the code must not count as a pass. */
function judge(tally: Tally | undefined, patterns: readonly string[]): string | undefined {
  if (tally === undefined) return "the runner reported nothing";
  if (tally.tests === 0) return `no test in ${patterns.join(", ")}`;
  if (tally.empty.length > 0) return `no test in ${tally.empty.map((file) => relative(root, file)).join(", ")}`;
  if (tally.skipped + tally.todo > 0) {
    return `${tally.skipped} skipped and ${tally.todo} to do; a test that cannot run must fail and say what it needs`;
  }
  return undefined;
}

function describeFailures(tally: Tally | undefined): string[] {
  const failures = tally?.failures ?? [];
  const lines = failures.slice(0, failuresShown).map(({ file, name, message }) => {
    const [first = ""] = message.split("\n", 1);
    return `  ${relative(root, file)}: ${name}: ${first.slice(0, 300)}`;
  });
  const more = failures.length - lines.length;
  return more > 0 ? [...lines, `  and ${more} more`] : lines;
}

function describeSlowest({ files }: Tally): string {
  const slowest = files.slice(0, slowestShown);
  const lines = slowest.map(
    ({ file, durationMs }) => `  ${(durationMs / 1_000).toFixed(1)} s  ${relative(root, file)}`,
  );
  return ["slowest files:", ...lines].join("\n");
}
