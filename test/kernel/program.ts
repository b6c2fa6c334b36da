// Runs a test file, or a main beside it, as a program of its own: with real signals, sockets and files.
import { join } from "node:path";
import { asRecord } from "../support/json.ts";
import { type Program, runProgram, startProgram, userEnvironment } from "../support/program.ts";

const root = join(import.meta.dirname, "../..");
/** So long a program may take on a busy machine before it counts as hanging. */
export const limitMs = 60_000;

type Environment = Readonly<Record<string, string | undefined>>;
type Ended = Awaited<ReturnType<typeof runProgram>>;

const argumentsOf = (file: string, args: readonly string[]): string[] => ["--conditions=plinth-source", file, ...args];
const optionsOf = (environment: Environment) => ({
  folder: root,
  environment: { ...userEnvironment(), ...environment },
});

/** Starts `file`; it is killed at the end of the `await using` block at the latest. */
export function start(file: string, args: readonly string[] = [], environment: Environment = {}): Promise<Program> {
  return startProgram(process.execPath, argumentsOf(file, args), optionsOf(environment));
}

/** Runs `file` to its end. */
export function run(file: string, args: readonly string[] = [], environment: Environment = {}): Promise<Ended> {
  return runProgram(process.execPath, argumentsOf(file, args), { ...optionsOf(environment), limitMs });
}

/** The lines that a program said, without those of its log. */
export function saidBy(stdout: string): string[] {
  return stdout.split("\n").filter((line) => line !== "" && !line.startsWith('{"level"'));
}

/** The lines of its log. */
export function loggedBy(stdout: string): Record<string, unknown>[] {
  const lines = stdout.split("\n").filter((line) => line.startsWith('{"level"'));
  return lines.map((line) => asRecord(JSON.parse(line)));
}

/** A message without where this checkout stands. */
export function withoutFolder(text: string): string {
  return text.replaceAll(`${root}/`, "");
}

export const say = (line: string): void => void process.stdout.write(`${line}\n`);
