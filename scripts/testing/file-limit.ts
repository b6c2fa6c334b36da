// Ends test processes that run for too long, from outside: one that is stuck in a loop cannot end itself.
import { readFileSync } from "node:fs";
import { relative } from "node:path";

// How long one file of tests may take. Each test has a shorter limit of its own, from --test-timeout.
const fileLimitMs = Number(process.env["PLINTH_TEST_FILE_LIMIT_MS"] ?? 240_000);
const lookEveryMs = 500;

/**
 * Watches the processes that the runner of process `runnerPid` starts, one for each file, and ends and names those that are
 * still there after their limit. Where there is no /proc they have none, and the limit of the whole run is left.
 *
 * @returns How to end it.
 */
export function limitFiles(runnerPid: number): () => void {
  let seenAtMs = new Map<number, number>();
  const look = (): void => {
    const nowMs = performance.now();
    const running = childrenOf(runnerPid);
    seenAtMs = new Map(running.map((pid) => [pid, seenAtMs.get(pid) ?? nowMs]));
    for (const [pid, atMs] of seenAtMs) if (nowMs - atMs >= fileLimitMs) end(pid);
  };
  const timer = setInterval(look, lookEveryMs);
  return () => clearInterval(timer);
}

function end(pid: number): void {
  const file =
    textOf(`/proc/${pid}/cmdline`)
      .split("\0")
      .findLast((part) => part !== "") ?? "a test process";
  console.error(`${relative(process.cwd(), file)}: still running after ${fileLimitMs} ms, ended`);
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error; // has ended meanwhile
  }
}

function childrenOf(pid: number): number[] {
  return textOf(`/proc/${pid}/task/${pid}/children`).split(" ").filter(Boolean).map(Number);
}

/** Empty when the process has ended. */
function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
