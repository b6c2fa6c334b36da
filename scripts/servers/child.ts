// A server process that never outlives the process that started it, however that one ends.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { Socket } from "node:net";
import type { Server } from "./find.ts";

// Enough of the last output to tell why a server did not come up.
const keptOutputChars = 8_192;
// From SIGTERM to SIGKILL.
const stopLimitMs = 5_000;

export interface ServerProcess {
  readonly pid: number;
  /** What it printed last, stdout and stderr together. */
  output(): string;
  /** Whether the process has ended. */
  exited(): boolean;
  /** Sends `signal`; for one that ends the process, waits until it has ended. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** SIGTERM, then SIGKILL after 5 s. Safe to call twice. */
  stop(): Promise<void>;
}

/** Whom a server runs as that refuses to run as root. */
export interface ServerAccount {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Starts `server` with `args`; it does not keep this process alive.
 *
 * @param dataFolder - Its files; removed with it when this process ends without having stopped it.
 * @param account - Default: that of this process.
 */
export async function startServerProcess(
  server: Server,
  args: readonly string[],
  dataFolder: string,
  account?: ServerAccount,
): Promise<ServerProcess> {
  const env = { ...process.env, ...server.env };
  const child = spawn(server.bin, args, {
    env,
    stdio: ["ignore", "pipe", "pipe"],
    ...(account && { cwd: "/", uid: account.uid, gid: account.gid }),
  });
  await once(child, "spawn");
  const pid = child.pid;
  if (pid === undefined) throw new Error(`${server.bin} started without a process id`);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (output = (output + text).slice(-keptOutputChars)));
    if (stream instanceof Socket) stream.unref();
  }
  child.unref();
  const gone = once(child, "exit");
  const guard = startGuard(pid, dataFolder);
  void gone.then(() => guard.kill("SIGKILL"));
  const exited = () => child.exitCode !== null || child.signalCode !== null;
  const kill = async (signal: NodeJS.Signals) => {
    if (exited()) return;
    child.kill(signal);
    if (signal !== "SIGSTOP" && signal !== "SIGCONT") await waitFor(child, gone);
  };
  const stop = async () => {
    if (exited()) return;
    const timer = setTimeout(() => child.kill("SIGKILL"), stopLimitMs);
    // A stopped process takes no SIGTERM before it goes on.
    child.kill("SIGCONT");
    await kill("SIGTERM");
    clearTimeout(timer);
  };
  return { pid, output: () => output, exited, kill, stop };
}

/** Waiting must keep this process alive, though the child alone does not. */
async function waitFor(child: ChildProcess, gone: Promise<unknown>): Promise<void> {
  child.ref();
  await gone;
}

/** A shell whose stdin closes when this process ends, in whatever way, and which then kills `pid` and removes its files. */
function startGuard(pid: number, dataFolder: string): ChildProcess {
  const script = 'read -r line; kill -9 "$1"; rm -rf "$2"';
  const guard = spawn("/bin/sh", ["-c", script, "guard", String(pid), dataFolder], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  guard.unref();
  if (guard.stdin instanceof Socket) guard.stdin.unref();
  return guard;
}
