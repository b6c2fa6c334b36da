// Where a bench runs its processes: the server under test alone on one CPU, all else on another, all ended at the end.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BenchError } from "./errors.ts";
import type { CpuPair } from "./machine.ts";
import { PinnedProcess, type Launch } from "./pinned-process.ts";

const closeLimitMs = 2_000;

/** A server to start. */
export interface ServerLaunch extends Launch {
  /** The port it was told to listen on. Without one, it prints a line `READY <port>` when it listens. */
  readonly port?: number;
  /** Path that it answers 200 when it is ready, asked every millisecond. Without one, it is up when it listens. */
  readonly readyPath?: string;
}

/** A server that listens on 127.0.0.1. */
export interface Running {
  readonly pid: number;
  readonly port: number;
  readonly stop: () => Promise<void>;
}

export class Lab {
  readonly #cpus: CpuPair;
  readonly #processes = new Set<PinnedProcess>();
  readonly #directories: string[] = [];
  #closed = false;

  constructor(cpus: CpuPair) {
    this.#cpus = cpus;
  }

  /** Starts the server under test, alone on its CPU. Resolves when it is up. */
  async server(launch: ServerLaunch): Promise<Running> {
    return this.#listen(this.#cpus.server, launch);
  }

  /** Starts what a server under test talks to, on the CPU of the load generator. Resolves when it listens. */
  async companion(launch: ServerLaunch): Promise<Running> {
    return this.#listen(this.#cpus.load, launch);
  }

  /** Runs a program of the load side to its end. Resolves with what it printed. */
  async run(launch: Launch): Promise<string> {
    return this.#finish(this.#cpus.load, launch);
  }

  /** Runs a program under test to its end, alone on the server's CPU. Resolves with what it printed. */
  async runAlone(launch: Launch): Promise<string> {
    return this.#finish(this.#cpus.server, launch);
  }

  /** A fresh directory for configuration and logs, removed by {@link close}. */
  async directory(): Promise<string> {
    const directory = await mkdtemp(join(tmpdir(), "plinth-bench-"));
    this.#directories.push(directory);
    return directory;
  }

  /** Ends what still runs, removes the directories, and starts nothing more. Safe to call twice. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#processes].map((child) => child.end(closeLimitMs)));
    this.#processes.clear();
    await Promise.all(this.#directories.splice(0).map((path) => rm(path, { recursive: true, force: true })));
  }

  async #finish(cpu: number, launch: Launch): Promise<string> {
    const child = this.#start(cpu, launch);
    const output = await child.output();
    this.#processes.delete(child);
    return output;
  }

  #start(cpu: number, launch: Launch): PinnedProcess {
    if (this.#closed) throw new BenchError("ERR_BENCH_PROCESS", `${launch.name} was not started: the bench is ending`);
    const child = new PinnedProcess(cpu, launch);
    this.#processes.add(child);
    return child;
  }

  async #listen(cpu: number, { port, readyPath, ...launch }: ServerLaunch): Promise<Running> {
    const child = this.#start(cpu, launch);
    const stop = async (): Promise<void> => {
      await child.stop();
      this.#processes.delete(child);
    };
    return { port: await child.listening(port, readyPath), pid: child.pid, stop };
  }
}
