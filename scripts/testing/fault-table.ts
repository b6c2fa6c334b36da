// What the tests of faults tell, each in a line of JSON, as a table.

/** One fault, and what it cost. */
export interface FaultRow {
  /** Its number in the list of faults, and its name. */
  readonly fault: string;
  /** What was done. */
  readonly done: string;
  readonly sent: number;
  readonly failed: number;
  readonly expected: string;
  readonly result: "ok" | "FAILED";
  /** What else was seen. */
  readonly seen: string;
}

const columns = [
  ["fault", ({ fault }) => fault],
  ["done", ({ done }) => done],
  ["requests", ({ sent }) => String(sent)],
  ["failed", ({ failed }) => String(failed)],
  ["expected", ({ expected }) => expected],
  ["seen", ({ seen }) => seen],
  ["result", ({ result }) => result],
] as const satisfies readonly (readonly [string, (row: FaultRow) => string])[];

/** A table in Markdown, a row for each. */
export function faultTable(rows: readonly FaultRow[]): string {
  const cells = rows.map((row) => columns.map(([, read]) => read(row).replaceAll("|", "\\|").replaceAll("\n", " ")));
  const lines = [columns.map(([title]) => title), columns.map(() => "---"), ...cells];
  return lines.map((line) => `| ${line.join(" | ")} |`).join("\n");
}

/** @throws When a line is no row. */
export function parseRows(text: string): readonly FaultRow[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const row: unknown = JSON.parse(line);
      if (!isRow(row)) throw new Error(`no row of a fault: ${line.slice(0, 200)}`);
      return row;
    });
}

function isRow(value: unknown): value is FaultRow {
  if (typeof value !== "object" || value === null) return false;
  const fields = new Map<string, unknown>(Object.entries(value));
  const texts = ["fault", "done", "expected", "seen", "result"].every((name) => typeof fields.get(name) === "string");
  return texts && ["sent", "failed"].every((name) => typeof fields.get(name) === "number");
}
