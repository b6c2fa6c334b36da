import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { readIfThere } from "./files.ts";

/** The server process of one data folder, as its `postmaster.pid` tells. */
export interface Postmaster {
  readonly pid: number;
  readonly port: number;
  /** Whether it takes connections; else it is starting or stopping. */
  readonly ready: boolean;
}

/**
 * The server that runs on a data folder, if one does. A file left behind by a killed server is none,
 * also when its number is some other process' by now.
 *
 * @see Lines of the file: https://doxygen.postgresql.org/pidfile_8h.html
 */
export async function findPostmaster(dataDir: string): Promise<Postmaster | undefined> {
  const lines = (await readIfThere(join(dataDir, "postmaster.pid")))?.split("\n");
  if (!lines) return undefined;
  const [pid, port] = [Number(lines[0]), Number(lines[3])];
  if (!Number.isInteger(pid) || !(await commandOf(pid)).includes(`postgres -D ${dataDir}`)) return undefined;
  return { pid, port, ready: lines[7]?.trim() === "ready" };
}

/** Whether a process runs. One that has ended counts as gone also while its parent has not taken note, as an init that reaps nobody never does. */
export async function isAlive(pid: number): Promise<boolean> {
  return (await commandOf(pid)) !== "";
}

/** What a process was started as; empty for one that has ended. */
export async function commandOf(pid: number): Promise<string> {
  try {
    if (process.platform === "linux") return (await readFile(`/proc/${pid}/cmdline`, "utf8")).replaceAll("\0", " ");
    const { stdout } = await promisify(execFile)("ps", ["-o", "command=", "-p", String(pid)]);
    return stdout.includes("<defunct>") ? "" : stdout.trim();
  } catch {
    return ""; // there is no such process: no file on Linux, a failure of ps elsewhere
  }
}
