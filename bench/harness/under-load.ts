// The kind of question that asks what one request costs: a server under load, and its CPU time by the requests it answered.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BenchError } from "./errors.ts";
import type { Lab, Running } from "./lab.ts";
import { parseLoadReport, type Load, type LoadPlan, type LoadReport } from "./load-plan.ts";
import type { Effort, Figure, Question, Reading, RowRole } from "./question.ts";

const generator = join(import.meta.dirname, "load-generator.ts");
/** Node goes on compiling for so long: every row costs up to twice as much in its first seconds. */
const maxWarmupSeconds = 8;
const effort = Object.freeze({ rounds: 3, seconds: 5 });

const figures: readonly Figure[] = [
  { key: "cpuMicrosPerRequest", title: "CPU µs/request", digits: 1, compared: "CPU per request" },
  { key: "requestsPerSecond", title: "requests/s", digits: 0 },
  { key: "p50Ms", title: "p50 ms", digits: 2 },
  { key: "p99Ms", title: "p99 ms", digits: 2 },
  // CPU time by wall time. Well below 1 the load side was the limit, and throughput compares nothing.
  { key: "busyRatio", title: "busy", digits: 0, percent: true },
];

/** A server under test. It is started afresh for every turn. */
export interface ServerRow {
  readonly name: string;
  readonly role: RowRole;
  readonly start: () => Promise<Running>;
  /** What its load has otherwise than that of the other rows. Default nothing. */
  readonly load?: Partial<Load>;
}

export interface LoadQuestion extends Pick<Question, "name" | "sentence" | "subject" | "targets"> {
  /** The load that every row gets, but for what a row has otherwise. */
  readonly load: Load;
  readonly prepare: (lab: Lab) => Promise<readonly ServerRow[]>;
}

/** A question whose rows are servers under the same load. */
export function underLoad({ load, prepare, ...question }: LoadQuestion): Question {
  return {
    ...question,
    figures,
    effort,
    shape: shapeOf(load),
    describe: (taken) =>
      `${load.connections} connections, ${load.bodyBytes}-byte body, ${warmupSecondsOf(taken)} s of warm-up, ` +
      `medians of ${taken.rounds} rounds of ${secondsOf(taken)} s.`,
    prepare: async (lab) => {
      const rows = await prepare(lab);
      return rows.map((row) => ({
        name: row.name,
        role: row.role,
        measure: async (taken) => toReading(await measureOnce(lab, { ...load, ...row.load }, row, taken)),
      }));
    },
  };
}

function shapeOf({ body, lines: _lines, ...rest }: Load): Question["shape"] {
  return body === undefined ? rest : { ...rest, contentType: body.contentType };
}

/** What a report of the load generator says of one request. */
export function toReading({ requests, seconds, cpuSeconds, p50Ms, p99Ms }: LoadReport): Reading {
  return {
    cpuMicrosPerRequest: (cpuSeconds * 1_000_000) / requests,
    requestsPerSecond: requests / seconds,
    p50Ms,
    p99Ms,
    busyRatio: cpuSeconds / seconds,
  };
}

/**
 * @throws {@link BenchError} `ERR_BENCH_LOAD` on any wrong reply or broken connection: a server that fails some
 *   requests does less work than one that answers all.
 */
async function measureOnce(lab: Lab, load: Load, row: ServerRow, taken: Effort): Promise<LoadReport> {
  const server = await row.start();
  const plan: LoadPlan = {
    load,
    port: server.port,
    serverPid: server.pid,
    warmupMs: warmupSecondsOf(taken) * 1_000,
    windowMs: secondsOf(taken) * 1_000,
  };
  const report = await runLoad(lab, plan);
  if (report.errors > 0 || report.requests === 0) {
    const reasons = report.reasons.length === 0 ? "no reply was counted" : report.reasons.join("; ");
    throw new BenchError(
      "ERR_BENCH_LOAD",
      `${row.name}: ${report.errors} errors beside ${report.requests} right replies: ${reasons}`,
    );
  }
  await server.stop();
  return report;
}

/** The load generator, from its start to its report. */
export async function runLoad(lab: Lab, plan: LoadPlan): Promise<LoadReport> {
  // A file, for what stands in an argument may not be long.
  const file = join(await lab.directory(), "plan.json");
  await writeFile(file, JSON.stringify(plan));
  return parseLoadReport(await lab.run({ name: "load generator", bin: process.execPath, args: [generator, file] }));
}

function secondsOf({ seconds = effort.seconds }: Effort): number {
  return seconds;
}

/** Load before each window, so that code is compiled and connections are open: 8 s, and twice the window in a run that is quicker. */
function warmupSecondsOf(taken: Effort): number {
  return Math.min(maxWarmupSeconds, 2 * secondsOf(taken));
}
