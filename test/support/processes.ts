// The processes of this machine as /proc shows them (Linux): what a program has started, what it costs, what it leaves behind.
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { until } from "./until.ts";

// Milliseconds of one tick of /proc/PID/stat: USER_HZ is 100 wherever Node runs (see proc_pid_stat(5)).
const msPerTick = 10;

export interface ProcessInfo {
  readonly pid: number;
  readonly parentPid: number;
  readonly groupId: number;
  /** Its arguments, with spaces between them. */
  readonly command: string;
  /** Its working directory. */
  readonly folder: string;
  /** User and system time of it and of its children that have ended, in milliseconds. */
  readonly cpuMs: number;
}

/** Every process that runs now. Those that have ended and wait for their parent to notice are none. */
export function listProcesses(): readonly ProcessInfo[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => readProcess(Number(entry)) ?? []);
}

/** The processes whose command line or working directory holds one of `markers`: folders, for instance. */
export function processesAt(markers: readonly string[]): readonly ProcessInfo[] {
  return listProcesses().filter(
    ({ pid, command, folder }) =>
      pid !== process.pid && markers.some((marker) => command.includes(marker) || `${folder}/`.includes(marker)),
  );
}

/** `root` and all that it has started, directly or not, and that still runs. */
export function treeOf(root: number): readonly ProcessInfo[] {
  const all = listProcesses();
  const tree = new Set([root]);
  for (let size = 0; size !== tree.size;) {
    size = tree.size;
    for (const { pid, parentPid } of all) if (tree.has(parentPid)) tree.add(pid);
  }
  return all.filter(({ pid }) => tree.has(pid));
}

/** Waits until `find` finds nothing more. @throws After `limitMs`, with what is still there. */
export async function untilGone(find: () => readonly ProcessInfo[], limitMs: number): Promise<void> {
  await until(
    () => find().length === 0,
    () => `these processes are left: ${describe(find())}`,
    limitMs,
  );
}

export function describe(processes: readonly ProcessInfo[]): string {
  return processes.map(({ pid, parentPid, command }) => `${pid} (of ${parentPid}) ${command}`).join("; ") || "none";
}

/** Ends a process at once; with `-id`, what is left of a whole group. One that has ended already is fine. */
export function killNow(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}

function readProcess(pid: number): ProcessInfo | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name stands in parentheses and may hold spaces and parentheses itself, so fields count from the last one.
    const [state, ...fields] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (state === "Z" || state === "X") return undefined;
    const [parentPid = 0, groupId = 0] = fields.map(Number);
    const ticks = fields.slice(10, 14).map(Number);
    return {
      pid,
      parentPid,
      groupId,
      command: readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim(),
      folder: readlinkSync(`/proc/${pid}/cwd`),
      cpuMs: ticks.reduce((sum, each) => sum + each, 0) * msPerTick,
    };
  } catch (error) {
    // It ended between two looks, or belongs to somebody else, whose processes are none of ours.
    if (error instanceof Error && "code" in error && ["ENOENT", "ESRCH", "EACCES"].includes(String(error.code))) {
      return undefined;
    }
    throw error;
  }
}
