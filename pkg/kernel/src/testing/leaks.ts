import { AssertionError } from "node:assert";
import { setTimeout as wait } from "node:timers/promises";
import { requireNumber } from "../errors/option-error.ts";
import { Handles, type Leftover } from "./handles.ts";
import { ProcessListeners } from "./process-listeners.ts";

export interface LeakCheckOptions {
  /** How long what is being closed may take, in milliseconds, 0 or more. Default 1_000. */
  readonly graceMs?: number;
}

/** Runs from {@link checkLeaks} to its end. */
export interface LeakCheck extends AsyncDisposable {
  /**
   * Ends the check. Waits, up to the grace, for what is being closed. A second call gives the outcome of the first.
   * @throws AssertionError that names everything left, and where each was made.
   */
  assertNone(): Promise<void>;
}

/**
 * Finds what the code from here to the end of the block, or to {@link LeakCheck.assertNone}, leaves behind: sockets, servers,
 * child processes, worker threads, file watchers and file handles; timers, also those that hold no process open; listeners
 * of `process`, signal handlers among them. Each with file and line of where it was made.
 *
 * It sees all that the process does meanwhile, so nothing else may run beside it. What was there before is not looked at;
 * nor is what Node keeps for itself, such as standard output and the idle connections of `fetch` and of the global agents.
 * While it runs, each handle and timer costs a stack; before and after, nothing.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` when `graceMs` is out of range.
 * @example
 * await using leaks = checkLeaks();
 * await using app = await testApp({ name: "notes", modules: [coreModule, notesModule] }); // stops first
 */
export function checkLeaks({ graceMs = 1_000 }: LeakCheckOptions = {}): LeakCheck {
  requireNumber("graceMs", graceMs, { min: 0 });
  const accounts = [new Handles(), new ProcessListeners()] as const;
  let outcome: Promise<void> | undefined;
  const assertNone = (): Promise<void> => (outcome ??= settle(accounts, graceMs));
  return { assertNone, [Symbol.asyncDispose]: assertNone };
}

/** Closing takes a few turns of the event loop, and where another process or the other end of a socket takes part, some time. */
const quickTurns = 20;
const pollMs = 10;

async function settle([handles, listeners]: readonly [Handles, ProcessListeners], graceMs: number): Promise<void> {
  const left = (): Leftover[] => [...handles.left(), ...listeners.left()];
  try {
    const endMs = performance.now() + graceMs;
    for (let turn = 0; left().length > 0 && (turn < quickTurns || performance.now() < endMs); turn++) {
      await (turn < quickTurns ? new Promise(setImmediate) : wait(pollMs));
    }
    const found = left();
    if (found.length > 0) throw new AssertionError({ message: reportOf(found) });
  } finally {
    handles.forget();
    listeners.forget();
  }
}

/** The same thing made many times at one place is one line. */
function reportOf(found: readonly Leftover[]): string {
  const lines = Map.groupBy(found, ({ what, place }) => `${what}, made at ${place}`);
  const listed = [...lines].map(([line, { length }]) => `  - ${length > 1 ? `${length} times ` : ""}${line}`);
  return `${found.length} thing${found.length === 1 ? " is" : "s are"} left open:\n${listed.join("\n")}`;
}
