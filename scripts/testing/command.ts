// Runs one command of the test run in the repository's root, under a time limit.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");
// From the first signal to SIGKILL.
const graceMs = 10_000;

export interface CommandOptions {
  /** How long it may take. Default 120_000. */
  readonly limitMs?: number;
  /** What it is sent when it takes longer; SIGKILL follows 10 s later. Default `SIGTERM`. */
  readonly signal?: NodeJS.Signals;
  /** Beside the environment of this process. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Whether what it prints is kept and printed at its end, as where others run beside it. Default false. */
  readonly keepOutput?: boolean;
  /** Called with the id of its process; what it returns is called at the end. */
  readonly watch?: (pid: number) => () => void;
}

/** Runs it with our output. @returns what went wrong, or undefined. */
export async function runCommand(
  command: string,
  args: readonly string[],
  { limitMs = 120_000, signal = "SIGTERM", environment = {}, keepOutput = false, watch }: CommandOptions = {},
): Promise<string | undefined> {
  const child = spawn(command, args, {
    cwd: root,
    stdio: keepOutput ? ["ignore", "pipe", "pipe"] : ["ignore", "inherit", "inherit"],
    env: { ...process.env, ...environment },
  });
  const kept: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (bytes: Buffer) => kept.push(bytes));
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill(signal);
    setTimeout(() => child.kill("SIGKILL"), graceMs).unref();
  }, limitMs);
  const unwatch = child.pid === undefined ? undefined : watch?.(child.pid);
  try {
    await once(child, keepOutput ? "close" : "exit");
  } catch (error) {
    return `cannot run ${command}: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    clearTimeout(timer);
    unwatch?.();
    process.stdout.write(Buffer.concat(kept));
  }
  if (late) return `took more than ${limitMs / 1_000} s and was ended`;
  if (child.signalCode !== null) return `was ended by ${child.signalCode}`;
  return child.exitCode === 0 ? undefined : `exited with code ${child.exitCode}`;
}
