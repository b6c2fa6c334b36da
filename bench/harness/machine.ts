// The machine and the code that the figures belong to.
import { execFile } from "node:child_process";
import { access, constants, readFile } from "node:fs/promises";
import { arch, cpus, loadavg, platform, release } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { BenchError } from "./errors.ts";

const run = promisify(execFile);

export interface Machine {
  readonly node: string;
  readonly cpu: string;
  readonly cores: number;
  readonly system: string;
  /** Load average of the last minute before the run: what else the machine was doing. */
  readonly loadAverage: number;
  /** Commit of the working tree, or `unknown` outside a git checkout. */
  readonly commit: string;
  /** Whether the working tree differed from the commit, results aside. */
  readonly dirty: boolean;
  /** When the run began, ISO 8601. */
  readonly date: string;
}

/** The two CPUs that a bench uses, by number. */
export interface CpuPair {
  readonly server: number;
  readonly load: number;
}

/**
 * @param root - The repository.
 */
export async function describeMachine(root: string): Promise<Machine> {
  return {
    node: process.version,
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    system: `${platform()} ${release()} ${arch()}`,
    loadAverage: Math.round((loadavg()[0] ?? 0) * 100) / 100,
    ...(await describeCommit(root)),
    date: new Date().toISOString(),
  };
}

/**
 * The first two CPUs that this process may run on.
 *
 * @throws {@link BenchError} `ERR_BENCH_MACHINE` where processes cannot be pinned and measured.
 */
export async function chooseCpus(): Promise<CpuPair> {
  if (platform() !== "linux") {
    throw new BenchError(
      "ERR_BENCH_MACHINE",
      `benches run on Linux only: they read /proc and pin by taskset, and this is ${platform()}`,
    );
  }
  if ((await findOnPath("taskset")) === undefined) {
    throw new BenchError(
      "ERR_BENCH_MACHINE",
      "taskset is not on PATH; it is in util-linux (Debian: apt-get install util-linux)",
    );
  }
  const status = await readFile("/proc/self/status", "utf8");
  const allowed = parseCpuList(/^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? "");
  const [server, load] = allowed;
  if (server === undefined || load === undefined) {
    throw new BenchError(
      "ERR_BENCH_MACHINE",
      `a bench needs two CPUs, one for the server alone; this process may use ${allowed.length}`,
    );
  }
  return { server, load };
}

/** Moves this process, with all its threads, to one CPU: what it does must not fall on what it measures. */
export async function pinThisProcess(cpu: number): Promise<void> {
  await run("taskset", ["--all-tasks", "--cpu-list", "--pid", String(cpu), String(process.pid)]);
}

/** Numbers of a kernel CPU list, as in `0-3,8`. */
export function parseCpuList(list: string): readonly number[] {
  return list
    .split(",")
    .filter((part) => part !== "")
    .flatMap((part) => {
      const [first = Number.NaN, last = first] = part.split("-").map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}

/** The path of an executable, looked up as a shell does. */
export async function findOnPath(name: string): Promise<string | undefined> {
  for (const directory of (process.env["PATH"] ?? "").split(delimiter)) {
    const path = join(directory, name);
    if (await isExecutable(path)) return path;
  }
  return undefined;
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function describeCommit(root: string): Promise<Pick<Machine, "commit" | "dirty">> {
  try {
    const { stdout: commit } = await run("git", ["rev-parse", "HEAD"], { cwd: root });
    const { stdout: changes } = await run("git", ["status", "--porcelain", "--", ".", ":!bench/results"], {
      cwd: root,
    });
    return { commit: commit.trim(), dirty: changes.trim() !== "" };
  } catch {
    // Outside a checkout, or without git: figures are still figures, but belong to no known commit.
    return { commit: "unknown", dirty: true };
  }
}
