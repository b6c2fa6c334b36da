// The tests of faults that take seconds of real outage each, one file after another, and a table of what each fault cost.
// usage: npm run test:faults [-- WORD...]   only the files whose names hold one of the words
import { globSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { ServerError, findServer } from "./servers/index.ts";
import { type FaultRow, faultTable, parseRows } from "./testing/fault-table.ts";
import { runTests } from "./testing/run-tests.ts";

/** Of one test, and of one file of them. */
const testLimitMs = 240_000;
const fileLimitMs = 900_000;

const root = join(import.meta.dirname, "..");

async function main(words: readonly string[]): Promise<void> {
  const files = globSync("test/faults-long/*.test.ts", { cwd: root }).toSorted();
  const chosen = files.filter((file) => words.length === 0 || words.some((word) => basename(file).includes(word)));
  if (chosen.length === 0) {
    console.error(`no file for ${words.join(", ")}; there are ${files.map((file) => basename(file)).join(", ")}`);
    process.exitCode = 2;
    return;
  }
  try {
    for (const name of ["consul", "redis-server"] as const) {
      const { bin } = await findServer(name);
      console.log(`${name} is ${bin}`);
    }
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
    return;
  }
  const rows: FaultRow[] = [];
  const faults: string[] = [];
  for (const file of chosen) {
    console.log(`\n── ${file}`);
    const { told, fault } = await runFile(file);
    rows.push(...told);
    if (fault !== undefined) faults.push(`${file}: ${fault}`);
    else if (told.length === 0) faults.push(`${file}: told of no fault`);
  }
  console.log(`\n${faultTable(rows)}`);
  for (const fault of faults) console.error(fault);
  if (faults.length > 0 || rows.some(({ result }) => result !== "ok")) process.exitCode = 1;
}

/** Runs one file; its tests leave their rows in a file of ours. */
async function runFile(
  file: string,
): Promise<{ readonly told: readonly FaultRow[]; readonly fault: string | undefined }> {
  const path = join(root, `.cache/fault-rows-${process.pid}.jsonl`);
  mkdirSync(join(root, ".cache"), { recursive: true });
  rmSync(path, { force: true });
  const fault = await runTests({
    node: process.execPath,
    patterns: [file],
    coverage: false,
    concurrency: 1,
    testLimitMs,
    runLimitMs: fileLimitMs,
    environment: { PLINTH_FAULT_ROWS: path },
  });
  try {
    return { told: parseRows(readFileSync(path, "utf8")), fault };
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return { told: [], fault };
    throw error;
  } finally {
    rmSync(path, { force: true });
  }
}

await main(process.argv.slice(2));
