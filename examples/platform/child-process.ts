import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import type { Runnable } from "@plinth/kernel";
import type { Address } from "./platform.ts";

/** What a child tells its parent when it is ready. */
export interface ReadyMessage {
  readonly type: "ready";
  readonly addresses: readonly Address[];
}

/**
 * One app of the platform as a process of its own, started and stopped like an app of this one.
 * When it dies the others go on, as they would in production.
 */
export class ChildApp implements Runnable {
  readonly name: string;
  readonly failure: Promise<unknown>;
  addresses: readonly Address[] = [];
  readonly #entry: string;
  readonly #failed = Promise.withResolvers<unknown>();
  #child: ChildProcess | undefined;
  #stopping = false;

  /** @param entry - The module to run; it is given `--app NAME`. */
  constructor(name: string, entry: string) {
    this.name = name;
    this.#entry = entry;
    this.failure = this.#failed.promise;
  }

  async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    // A process group of its own: Ctrl-C in the terminal reaches the parent alone, which then stops the children in order.
    const child = fork(this.#entry, ["--app", this.name], {
      detached: true,
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#child = child;
    const onAbort = (): void => void child.kill("SIGTERM");
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await new Promise<void>((resolve, reject) => {
        child.once("error", reject);
        child.once("exit", (code, by) =>
          reject(new Error(`its process ended with ${by ?? `exit code ${code}`} before it was ready`)),
        );
        child.once("message", (message: ReadyMessage) => {
          this.addresses = message.addresses;
          resolve();
        });
      });
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
    child.once("exit", (code, by) => {
      if (!this.#stopping)
        process.stderr.write(
          `${this.name} (pid ${child.pid}) ended with ${by ?? `exit code ${code}`}; the others go on\n`,
        );
    });
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGTERM");
    await once(child, "exit");
    if (child.exitCode !== 0)
      throw new Error(`its process ended with ${child.signalCode ?? `exit code ${child.exitCode}`}`);
  }

  fail(error: unknown): void {
    this.#failed.resolve(error);
  }
}
