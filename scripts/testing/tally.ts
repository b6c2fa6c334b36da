// A reporter that writes one JSON object: how many tests there were and how they ended, which failed, and how long each file took.
import type { TestEvent } from "node:test/reporters";

export interface Tally {
  readonly tests: number;
  readonly passed: number;
  readonly skipped: number;
  readonly todo: number;
  /** Files in which there is no test: the runner counts each as one that passed. */
  readonly empty: readonly string[];
  /** Tests that failed themselves, not by one inside them. */
  readonly failures: readonly { readonly file: string; readonly name: string; readonly message: string }[];
  /** Each file, slowest first. */
  readonly files: readonly { readonly file: string; readonly durationMs: number }[];
}

export default async function* tally(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const files: Tally["files"][number][] = [];
  let counts = { tests: 0, passed: 0, skipped: 0, todo: 0 };
  const empty: string[] = [];
  const failures: Tally["failures"][number][] = [];
  for await (const event of source) {
    if (event.type === "test:pass" && event.data.name === event.data.file) empty.push(event.data.name);
    if (event.type === "test:fail") {
      const { file = "", name, details } = event.data;
      const { error } = details;
      const isOfInner = "failureType" in error && error.failureType === "subtestsFailed";
      if (!isOfInner) failures.push({ file, name, message: error.message });
    }
    if (event.type !== "test:summary") continue;
    const { file, duration_ms: durationMs, counts: counted } = event.data;
    if (file === undefined) counts = counted;
    else files.push({ file, durationMs });
  }
  const { tests, passed, skipped, todo } = counts;
  files.sort((a, b) => b.durationMs - a.durationMs);
  const result: Tally = { tests, passed, skipped, todo, empty, failures, files };
  yield JSON.stringify(result);
}
