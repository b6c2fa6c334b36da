// The kind of question that asks what an operation inside a process costs: each row is a program that times itself.
import { BenchError } from "./errors.ts";
import type { Lab } from "./lab.ts";
import type { Launch } from "./pinned-process.ts";
import type { Figure, Question, Reading, RowRole } from "./question.ts";

/** A program that takes its turn: it is told the length of its window and prints a {@link Reading} as JSON. */
export interface ProgramRow {
  readonly name: string;
  readonly role: RowRole;
  readonly launch: Launch;
}

interface InProcessQuestion extends Pick<Question, "name" | "sentence" | "subject" | "targets" | "describe" | "shape"> {
  readonly figures: readonly Figure[];
  readonly effort: { readonly rounds: number; readonly seconds: number };
  /** A function starts first what the programs talk to. */
  readonly rows: readonly ProgramRow[] | ((lab: Lab) => Promise<readonly ProgramRow[]>);
}

/** A question whose rows are programs, each run in a fresh process, alone on its CPU. */
export function inProcess({ rows, ...question }: InProcessQuestion): Question {
  return {
    ...question,
    prepare: async (lab) =>
      (typeof rows === "function" ? await rows(lab) : rows).map((row) => ({
        name: row.name,
        role: row.role,
        measure: ({ seconds = question.effort.seconds }) => runOnce(lab, row, seconds, question.figures),
      })),
  };
}

async function runOnce(lab: Lab, row: ProgramRow, seconds: number, figures: readonly Figure[]): Promise<Reading> {
  const { args, ...launch } = row.launch;
  return parseReading(await lab.runAlone({ ...launch, args: [...args, String(seconds)] }), row.name, figures);
}

/**
 * Reads what a program printed.
 *
 * @throws {@link BenchError} `ERR_BENCH_PROCESS` when it is no JSON object of positive numbers, one for each figure.
 */
export function parseReading(text: string, name: string, figures: readonly Figure[]): Reading {
  const printed = toRecord(text);
  const reading = figures.map(({ key }) => {
    const value = printed.get(key);
    if (typeof value === "number" && Number.isFinite(value) && value >= 0) return [key, value] as const;
    throw new BenchError("ERR_BENCH_PROCESS", `${name} printed no number "${key}": ${text.slice(0, 200)}`);
  });
  return Object.fromEntries(reading);
}

function toRecord(text: string): ReadonlyMap<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return new Map<string, unknown>(typeof value === "object" && value !== null ? Object.entries(value) : []);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return new Map();
  }
}
