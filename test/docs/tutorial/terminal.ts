// Types what a page shows into a shell, and compares what comes.
import assert from "node:assert/strict";
import { type Program, startProgram, userEnvironment } from "../../support/program.ts";
import { until } from "../../support/until.ts";
import type { Command } from "./page.ts";
import { difference, isShown } from "./shown.ts";

export interface TerminalOptions {
  readonly folder: string;
  /** Of the reader, beside his usual ones. */
  readonly environment: Readonly<Record<string, string>>;
  /** From what is on the page to what is on this machine, such as a port that is free here. */
  readonly toHere: (text: string) => string;
  readonly toPage: (text: string) => string;
}

const limitMs = 30_000;

interface Running {
  readonly program: Program;
  /** All that it has to have printed by now. */
  readonly shown: string[];
}

/** A reader's terminals: one in which commands end, and one for a program that goes on. */
export class Terminal implements AsyncDisposable {
  readonly #options: TerminalOptions;
  #running: Running | undefined;
  #lastExit = 0;

  constructor(options: TerminalOptions) {
    this.#options = options;
  }

  /** Runs a command to its end; with `goesOn`, until it has printed what is shown. */
  async type({ text, shown }: Command, goesOn: boolean): Promise<void> {
    assert.ok(!goesOn || !this.#running, `"${text}" would be the second program that goes on`);
    const { folder, environment, toHere } = this.#options;
    const script = `exec 2>&1\n(exit ${this.#lastExit})\n${toHere(text)}`;
    const program = await startProgram("bash", ["-c", script], {
      folder,
      environment: { ...userEnvironment(), ...environment },
    });
    const running: Running = { program, shown: [] };
    if (goesOn) {
      this.#running = running;
      await this.#follow(running, shown, true);
    } else {
      await using _ = program;
      await this.#follow(running, shown, false);
    }
  }

  /** Goes on with the program that goes on; a page that presses ^C there sees its end. */
  async back(shown: readonly string[]): Promise<void> {
    const running = this.#running;
    assert.ok(running, "there is no program to go back to");
    const ends = shown.includes("^C");
    if (ends) this.#running = undefined;
    await this.#follow(running, shown, !ends);
  }

  /** @throws AssertionError when a program still runs: a page has an end. */
  close(): void {
    assert.equal(this.#running, undefined, "a program of the page was never ended");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running?.program[Symbol.asyncDispose]();
  }

  async #follow({ program, shown: before }: Running, shown: readonly string[], goesOn: boolean): Promise<void> {
    const printed = (): string => this.#options.toPage(program.stdout());
    const keys = [...shown.keys()].filter((index) => shown[index] === "^C");
    let from = 0;
    for (const to of goesOn ? [...keys, shown.length] : keys) {
      before.push(...shown.slice(from, to));
      await until(
        () => isShown(before, printed()),
        () => difference(before, printed()),
        limitMs,
      );
      if (to < shown.length) program.interrupt();
      from = to + 1;
    }
    if (goesOn) return;
    before.push(...shown.slice(from));
    let isOver = false;
    void program.exit.then(() => (isOver = true));
    await until(
      () => isOver,
      () => `it did not end; ${difference(before, printed())}`,
      limitMs,
    );
    this.#lastExit = (await program.exit).code ?? 1;
    assert.ok(isShown(before, printed()), difference(before, printed()));
  }
}
