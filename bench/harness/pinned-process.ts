import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as elapse } from "node:timers/promises";
import { BenchError } from "./errors.ts";
import { answers200, canConnect } from "./probe.ts";

const readyLimitMs = 20_000;
const stopLimitMs = 10_000;
const connectPollMs = 20;
// Where the moment itself is measured.
const answerPollMs = 1;
// 128 and the number of SIGTERM: how a program tells that the signal ended it when it ends by itself.
const terminatedCode = 143;
const stderrTailLength = 4_000;

/** A program to start. */
export interface Launch {
  /** How messages call it. */
  readonly name: string;
  readonly bin: string;
  readonly args: readonly string[];
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** A file that takes its standard output, as a log collector would; its port must then be known. */
  readonly stdoutFile?: string;
}

interface End {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly cause?: Error;
}

/** A child process that may run on one CPU only. */
export class PinnedProcess {
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<End>;
  #end: End | undefined;
  #stdout = "";
  #stderr = "";

  constructor(cpu: number, { name, bin, args, env, stdoutFile }: Launch) {
    this.#name = name;
    const file = stdoutFile === undefined ? undefined : openSync(stdoutFile, "a");
    // taskset replaces itself by the program, so that the child's id is the program's.
    this.#child = spawn("taskset", ["--cpu-list", String(cpu), bin, ...args], {
      stdio: ["ignore", file ?? "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    if (file !== undefined) closeSync(file);
    const { promise, resolve } = Promise.withResolvers<End>();
    this.#child.once("error", (cause) => resolve({ code: null, signal: null, cause }));
    this.#child.once("close", (code, signal) => resolve({ code, signal }));
    this.#ended = promise.then((end) => (this.#end = end));
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => (this.#stdout += text));
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-stderrTailLength);
    });
  }

  /** @throws {@link BenchError} `ERR_BENCH_PROCESS` when the program could not be started at all. */
  get pid(): number {
    if (this.#child.pid === undefined) throw this.#failure("could not be started");
    return this.#child.pid;
  }

  /**
   * Waits until the program is up: it answers 200 on `readyPath`, or else listens on `port`, or else prints a line `READY <port>`.
   *
   * @returns The port.
   * @throws {@link BenchError} `ERR_BENCH_PROCESS` when it ends first, or is not ready in 20 s; it is killed then.
   */
  async listening(port?: number, readyPath?: string): Promise<number> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#child.kill("SIGKILL");
    }, readyLimitMs);
    try {
      const found = await (port === undefined ? this.#readyLine() : this.#isUp(port, readyPath));
      if (found !== undefined) return found;
    } finally {
      clearTimeout(timer);
    }
    await this.#ended;
    throw this.#failure(late ? `was not ready within ${readyLimitMs} ms` : "ended before it was ready");
  }

  /**
   * Waits for the end of a program that prints an answer.
   *
   * @throws {@link BenchError} `ERR_BENCH_PROCESS` when its exit code is not 0.
   */
  async output(): Promise<string> {
    const { code } = await this.#ended;
    if (code !== 0) throw this.#failure("failed");
    return this.#stdout;
  }

  /**
   * Sends SIGTERM and waits for the end.
   *
   * @throws {@link BenchError} `ERR_BENCH_PROCESS` when the program had ended by itself, ends with a code that tells of
   *   trouble, or does not end in 10 s; it is killed then.
   */
  async stop(): Promise<void> {
    if (this.#end !== undefined) throw this.#failure("ended by itself");
    if (!(await this.end(stopLimitMs))) throw this.#failure(`did not stop within ${stopLimitMs} ms of SIGTERM`);
    const { code, signal } = await this.#ended;
    if (code !== 0 && code !== terminatedCode && signal !== "SIGTERM") throw this.#failure("did not stop cleanly");
  }

  /**
   * Ends the program whatever its state: SIGTERM first, since a master that is killed outright leaves its workers.
   *
   * @returns Whether SIGTERM was enough.
   */
  async end(limitMs: number): Promise<boolean> {
    let killed = false;
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => {
      killed = true;
      this.#child.kill("SIGKILL");
    }, limitMs);
    await this.#ended;
    clearTimeout(timer);
    return !killed;
  }

  async #readyLine(): Promise<number | undefined> {
    const { stdout } = this.#child;
    if (stdout === null) return undefined;
    const { promise, resolve } = Promise.withResolvers<number>();
    createInterface({ input: stdout }).on("line", (line) => {
      const port = /^READY (\d+)$/.exec(line)?.[1];
      if (port !== undefined) resolve(Number(port));
    });
    return Promise.race([promise, this.#ended.then(() => undefined)]);
  }

  async #isUp(port: number, readyPath: string | undefined): Promise<number | undefined> {
    while (this.#end === undefined) {
      if (await (readyPath === undefined ? canConnect(port) : answers200(port, readyPath))) return port;
      await elapse(readyPath === undefined ? connectPollMs : answerPollMs);
    }
    return undefined;
  }

  #failure(what: string): BenchError {
    const { code, signal, cause } = this.#end ?? {};
    const how = [
      ...(typeof code === "number" ? [`exit code ${code}`] : []),
      ...(signal === undefined || signal === null ? [] : [signal]),
      ...(cause === undefined ? [] : [cause.message]),
    ].join(", ");
    const said = this.#stderr.trim();
    return new BenchError(
      "ERR_BENCH_PROCESS",
      `${this.#name} ${what}${how === "" ? "" : ` (${how})`}${said === "" ? "" : `; it said:\n${said}`}`,
      { cause },
    );
  }
}
