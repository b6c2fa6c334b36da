// Puts test files that need no process of their own together: half of what each costs is the start of its process.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";

/** Hooks for a whole file, and whatever changes or looks at the process, or starts programs. */
const needsOwnProcess =
  /^(?:before|after|beforeEach|afterEach)\(|\bprocess\.|\bmock\.|globalThis|start(?:Test|Embedded|Consul)|node:(?:child_process|worker_threads|cluster)\b|\bimport\(/m;

export interface BatchOptions {
  /** Where the paths begin, and the folder for what is written. */
  readonly root: string;
  readonly folder: string;
  /** How many files to make of those that share a process. */
  readonly count: number;
}

/** @returns Test files that run the same tests: those that need a process of their own, and files made of all others. */
export function batchFiles(paths: readonly string[], { root, folder, count }: BatchOptions): string[] {
  const isApart = (path: string): boolean => needsOwnProcess.test(readFileSync(join(root, path), "utf8"));
  const { apart = [], together = [] } = Object.groupBy(paths, (path) => (isApart(path) ? "apart" : "together"));
  mkdirSync(join(root, folder), { recursive: true });
  const batches = Array.from({ length: count }, (_, index) => {
    const batch = join(folder, `together-${index + 1}.test.ts`);
    const lines = together
      .filter((_path, at) => at % count === index)
      .map((path) => `import ${JSON.stringify(relative(folder, path))};\n`);
    writeFileSync(join(root, batch), lines.join(""));
    return batch;
  });
  return [...batches, ...apart];
}
