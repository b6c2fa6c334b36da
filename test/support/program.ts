// A program in a process group of its own, as a terminal starts one; it never outlives the test that started it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { Socket } from "node:net";
import { join } from "node:path";
import { setImmediate as nextTurn, setTimeout as delay } from "node:timers/promises";
import { killNow } from "./processes.ts";
import { until } from "./until.ts";

// Of what it writes, the first so many characters are kept: a platform under load writes a line for each request.
const keptChars = 16 * 2 ** 20;
// A child of the program may hold its output open for longer than itself.
const outputGraceMs = 1_000;

export interface Exit {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface ProgramOptions {
  readonly folder: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** A running program, killed with its whole group at the end of its `await using` block. */
export interface Program extends AsyncDisposable {
  readonly pid: number;
  /** When it has ended, and all that it wrote has been read. */
  readonly exit: Promise<Exit>;
  stdout(): string;
  stderr(): string;
  /** Sends `signal` to the process alone. */
  signal(signal: NodeJS.Signals): void;
  /** Ctrl-C: SIGINT to the whole group, as a terminal sends it. */
  interrupt(): void;
  /** Waits until stdout holds `text`. @throws When the program ends first, or after `limitMs`, with what it wrote. */
  untilPrinted(text: string, limitMs: number): Promise<void>;
}

/** Starts `command`; no shell, no stdin. */
export async function startProgram(
  command: string,
  args: readonly string[],
  { folder, environment }: ProgramOptions,
): Promise<Program> {
  const child = spawn(command, args, {
    cwd: folder,
    env: environment,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const stdout = textOf(child.stdout);
  const stderr = textOf(child.stderr);
  const ended = once(child, "exit");
  const closed = once(child, "close");
  await once(child, "spawn");
  const { pid } = child;
  if (pid === undefined) throw new Error(`${command} started without a process id`);
  const guard = afterUs('kill -9 "-$1"', String(pid));
  let isOver = false;
  const exit = ended.then(async (): Promise<Exit> => {
    isOver = true;
    guard.kill("SIGKILL");
    // what has arrived is read first, however late the timer is
    const grace = delay(outputGraceMs, undefined, { ref: false }).then(() => nextTurn());
    await Promise.race([closed, grace]);
    return { code: child.exitCode, signal: child.signalCode };
  });
  const wrote = (): string => `it wrote:\n${stdout().slice(-4_000)}\n${stderr().slice(-4_000)}`;
  return {
    pid,
    exit,
    stdout,
    stderr,
    signal: (signal) => void child.kill(signal),
    interrupt: () => void process.kill(-pid, "SIGINT"),
    async untilPrinted(text, limitMs) {
      await until(
        () => isOver || stdout().includes(text),
        () => `${command} did not print "${text}"; ${wrote()}`,
        limitMs,
      );
      if (stdout().includes(text)) return;
      const { code, signal } = await exit;
      throw new Error(`${command} ended with ${signal ?? `exit code ${code}`} before it printed "${text}"; ${wrote()}`);
    },
    async [Symbol.asyncDispose]() {
      killNow(-pid);
      await exit;
      for (const stream of [child.stdout, child.stderr]) stream.destroy();
    },
  };
}

/** Runs `command` to its end. @throws After `limitMs`, with what it wrote. */
export async function runProgram(
  command: string,
  args: readonly string[],
  { limitMs, ...options }: ProgramOptions & { readonly limitMs: number },
): Promise<Exit & { readonly stdout: string; readonly stderr: string; readonly tookMs: number }> {
  const startedAtMs = performance.now();
  await using program = await startProgram(command, args, options);
  let exit: Exit | undefined;
  void program.exit.then((end) => (exit = end));
  await until(
    () => exit !== undefined,
    () => `${command} ${args.join(" ")} did not end; it wrote:\n${program.stdout()}\n${program.stderr()}`,
    limitMs,
  );
  const tookMs = performance.now() - startedAtMs;
  return { ...(await program.exit), stdout: program.stdout(), stderr: program.stderr(), tookMs };
}

/**
 * The environment of this process without what a test run adds: a user has neither our settings nor the variables of the
 * npm and the test runner around this test, and his `node` is the machine's.
 * What programs compile when they start, most of their start, is kept for the next one.
 */
export function userEnvironment(): Record<string, string | undefined> {
  const ours =
    /^(npm_(package|lifecycle|config_local_prefix)|npm_(command|execpath|node_execpath)$|NODE_(OPTIONS|TEST_CONTEXT|V8_COVERAGE)$|INIT_CWD$|PLINTH_|OTEL_)/;
  const rest = Object.entries(process.env).filter(([name]) => !ours.test(name));
  const path = (process.env.PATH ?? "").split(":").filter((folder) => !folder.includes("node_modules"));
  // Where it is not said otherwise, Node hands its own variable for coverage on to whatever it starts.
  return {
    ...Object.fromEntries(rest),
    PATH: path.join(":"),
    NODE_COMPILE_CACHE: compiled,
    NODE_V8_COVERAGE: "",
  };
}

const compiled = join(import.meta.dirname, "../../.cache/compiled");

function textOf(stream: NodeJS.ReadableStream): () => string {
  let text = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => {
    if (text.length < keptChars) text += chunk;
  });
  return () => text;
}

/**
 * Runs a shell script when this process ends without having killed what is returned, in whatever way it ends.
 *
 * @param argument - `$1` of the script.
 */
export function afterUs(script: string, argument: string): ChildProcess {
  // Its stdin closes with this process.
  const guard = spawn("/bin/sh", ["-c", `read -r line; ${script}`, "guard", argument], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  guard.unref();
  if (guard.stdin instanceof Socket) guard.stdin.unref();
  return guard;
}
