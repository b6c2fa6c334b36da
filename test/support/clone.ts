// A fresh clone of this repository, as somebody has it who has just heard of it.
import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, killNow, processesAt, type ProcessInfo } from "./processes.ts";
import { asRecord } from "./json.ts";
import { afterUs, runProgram, userEnvironment } from "./program.ts";

const repository = join(import.meta.dirname, "../..");
const cloneLimitMs = 60_000;

export interface Clone extends AsyncDisposable {
  readonly folder: string;
  /** What runs of it: of its folder, or a server of the PostgreSQL data that belongs to it. */
  processes(): Promise<readonly ProcessInfo[]>;
}

/** Clones what is committed, not what is changed and uncommitted, into an empty folder. Removed at the end of its block. */
export async function cloneRepository(): Promise<Clone> {
  const parent = await mkdtemp(join(tmpdir(), "plinth-clone-"));
  const folder = join(parent, "plinth");
  // When the test is killed: what runs in it is ended by its own guards a moment earlier.
  const guard = afterUs('sleep 10; rm -rf "$1"', parent);
  const dispose = async (): Promise<void> => {
    const left = await processesOf(folder);
    for (const { pid } of left) killNow(pid);
    await rm(parent, { recursive: true, force: true, maxRetries: 5 });
    guard.kill("SIGKILL");
    if (left.length > 0) throw new Error(`these were left and had to be killed: ${describe(left)}`);
  };
  // Open to the account that runs PostgreSQL when we are root, as most folders are.
  await chmod(parent, 0o755);
  const args = ["clone", "--quiet", "--no-hardlinks", repository, folder];
  const { code, stderr } = await runProgram("git", args, {
    folder: parent,
    environment: userEnvironment(),
    limitMs: cloneLimitMs,
  });
  if (code !== 0) {
    await dispose();
    throw new Error(`git ${args.join(" ")} exited with ${code}: ${stderr}`);
  }
  return { folder, processes: () => processesOf(folder), [Symbol.asyncDispose]: dispose };
}

async function processesOf(folder: string): Promise<readonly ProcessInfo[]> {
  return processesAt([`${folder}/`, ...(await clusterOf(folder))]);
}

/** As root, the data lies outside the clone where PostgreSQL's account cannot reach into it; its folder is named by this id. */
async function clusterOf(folder: string): Promise<readonly string[]> {
  try {
    const text = await readFile(join(folder, ".cache/platform/postgres/cluster.json"), "utf8");
    const cluster = asRecord(JSON.parse(text));
    return typeof cluster["id"] === "string" ? [cluster["id"]] : [];
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}
