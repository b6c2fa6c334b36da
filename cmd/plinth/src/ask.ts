import { type ChildProcess, spawn } from "node:child_process";
import { statSync } from "node:fs";
import { resolve } from "node:path";
import { type CommandAnswer, commandVariable, joinTexts, type RunCommand, toCommandAnswer } from "@plinth/kernel";

export interface Question {
  /** The file that runs the apps, from the current folder. */
  readonly main: string;
  readonly programArgs: readonly string[];
  readonly command: RunCommand;
  /** How long it may take, in milliseconds. */
  readonly limitMs: number;
}

/** What a main that was told to end has for it. */
const graceMs = 3_000;
const signalNumbers = { SIGINT: 2, SIGTERM: 15 } as const;
type StopSignal = keyof typeof signalNumbers;

/**
 * Loads a main in a process of its own and has it answer a command instead of running. The answer alone goes to standard
 * output; what the main prints goes to standard error.
 *
 * @returns The exit code: 0; 1 when there are faults or no answer; 130 or 143 after a signal.
 */
export async function askMain(question: Question): Promise<number> {
  const { main, command } = question;
  const fault = faultOf(main);
  if (fault !== undefined) return tell(fault);
  const child = spawn(process.execPath, [...process.execArgv, resolve(main), ...question.programArgs], {
    env: { ...process.env, [commandVariable]: JSON.stringify(command) },
    stdio: ["ignore", process.stderr.fd, process.stderr.fd, "ipc"],
  });
  const answers: CommandAnswer[] = [];
  child.on("message", (message) => void answers.push(...[toCommandAnswer(message) ?? []].flat()));
  const ended = await endOf(child, question.limitMs);
  if (answers.length > 0)
    await print(
      joinTexts(
        command,
        answers.flatMap(({ texts }) => texts),
      ),
    );
  if (ended.told !== undefined) return 128 + signalNumbers[ended.told];
  if (ended.isLate) {
    const what = answers.length > 0 ? "answered, but did not end" : "did not answer";
    return tell(`${main} ${what} within ${question.limitMs / 1_000} s, and was killed; --timeout allows more`);
  }
  const how = ended.by ?? `exit code ${ended.code}`;
  if (answers.length > 0) return Math.max(...answers.map(({ exitCode }) => exitCode), ended.code === 0 ? 0 : 1);
  if (ended.code === 0) return tell(`${main} ended without calling app.run() or runApps(); is it the file that does?`);
  return tell(`${main} ended with ${how} before it called app.run() or runApps(); why stands above`);
}

interface Ended {
  readonly code: number | null;
  readonly by: NodeJS.Signals | null;
  /** It overran its limit and was killed. */
  readonly isLate: boolean;
  /** The signal that ended this program. */
  readonly told: StopSignal | undefined;
}

/** Waits for the end of the process, and brings it about at the limit and at a signal. */
async function endOf(child: ChildProcess, limitMs: number): Promise<Ended> {
  let isLate = false;
  let told: StopSignal | undefined;
  const timers = new Set<NodeJS.Timeout>();
  const end = (signal: StopSignal): void => {
    child.kill(signal);
    timers.add(setTimeout(() => child.kill("SIGKILL"), graceMs));
  };
  const onSignal = (signal: StopSignal): void => {
    // a second one waits for nothing
    if (told === undefined) end(signal);
    else child.kill("SIGKILL");
    told ??= signal;
  };
  const onLimit = (): void => {
    isLate = true;
    end("SIGTERM");
  };
  timers.add(setTimeout(onLimit, limitMs));
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  try {
    // "close" comes after the last message, "exit" may come before
    return await new Promise((resolve, reject) => {
      child.once("error", reject).once("close", (code, by) => resolve({ code, by, isLate, told }));
    });
  } finally {
    for (const timer of timers) clearTimeout(timer);
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
}

function faultOf(main: string): string | undefined {
  const found = statSync(main, { throwIfNoEntry: false });
  if (found === undefined) return `there is no file ${main}`;
  return found.isFile() ? undefined : `${main} is no file; name the one that calls app.run() or runApps()`;
}

function tell(text: string): 1 {
  process.stderr.write(`plinth: ${text}\n`);
  return 1;
}

/** A reader that has seen enough, such as `head`, is no fault. */
function print(text: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  process.stdout.on("error", () => undefined); // the callback is told too
  process.stdout.write(text, (error) => {
    if (error && !("code" in error && error.code === "EPIPE")) reject(error);
    else resolve();
  });
  return promise;
}
