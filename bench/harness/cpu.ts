// CPU time that a server spent, read from the kernel's own account of it: exact however the load side behaves.
import { readFileSync, readdirSync } from "node:fs";

// Ticks a second of utime and stime, USER_HZ: 100 on every architecture that Node runs on (see proc_pid_stat(5)).
const TICKS_PER_SECOND = 100;

/** The fields of /proc/PID/stat that a bench reads. */
export interface ProcessStat {
  readonly pid: number;
  readonly name: string;
  readonly parentPid: number;
  /** User and system time of all threads of the process, ended ones too, in seconds. */
  readonly cpuSeconds: number;
}

/**
 * Reads one line of /proc/PID/stat.
 *
 * The name stands in parentheses and may itself hold spaces and parentheses, so fields count from the last `)`.
 *
 * @throws TypeError when the text is not such a line.
 */
export function parseStat(text: string): ProcessStat {
  const open = text.indexOf("(");
  const close = text.lastIndexOf(")");
  const fields = text.slice(close + 2).split(" ");
  const pid = Number(text.slice(0, open - 1));
  const parentPid = Number(fields[1]);
  const ticks = Number(fields[11]) + Number(fields[12]);
  if (open < 2 || close < open || ![pid, parentPid, ticks].every(Number.isInteger)) {
    throw new TypeError(`not a line of /proc/PID/stat: ${JSON.stringify(text.slice(0, 120))}`);
  }
  return { pid, name: text.slice(open + 1, close), parentPid, cpuSeconds: ticks / TICKS_PER_SECOND };
}

/** The ids of `root` and of all its descendants among `processes`, ascending: a master and its workers. */
export function treeOf(root: number, processes: readonly ProcessStat[]): readonly number[] {
  const tree = new Set([root]);
  for (let size = 0; size !== tree.size;) {
    size = tree.size;
    for (const { pid, parentPid } of processes) if (tree.has(parentPid)) tree.add(pid);
  }
  return [...tree].toSorted((a, b) => a - b);
}

/** Every process that can be seen now. */
export function listProcesses(): readonly ProcessStat[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => readStat(Number(entry)) ?? []);
}

/**
 * CPU seconds that the given processes have used together since each began.
 *
 * @throws Error when one of them is gone: its time is lost and the sum would be too low.
 */
export function cpuSecondsOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const stat = readStat(pid);
    if (stat === undefined) throw new Error(`process ${pid} ended while it was measured`);
    return sum + stat.cpuSeconds;
  }, 0);
}

/**
 * CPU milliseconds that one process has used since it began, of its threads that are still there: to the nanosecond, where
 * {@link cpuSecondsOf} counts hundredths of a second. For a process that has just started.
 *
 * @throws Error when the process is gone, or the kernel keeps no such account.
 */
export function preciseCpuMsOf(pid: number): number {
  const threads = `/proc/${pid}/task`;
  return readdirSync(threads).reduce((sum, thread) => {
    const [nanoseconds = ""] = readFileSync(`${threads}/${thread}/schedstat`, "utf8").split(" ");
    return sum + Number(nanoseconds) / 1e6;
  }, 0);
}

function readStat(pid: number): ProcessStat | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch (error) {
    // A process may end between the listing and the reading: ENOENT before open, ESRCH after it.
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ESRCH")) {
      return undefined;
    }
    throw error;
  }
}
