import { AppError, isError, messageOf } from "../errors/app-error.ts";
import { toWorkersOptions, type WorkersOptions } from "../workers/options.ts";
import { rootOf } from "../errors/brand.ts";
import { type RunCommand, takeCommand } from "./command-protocol.ts";
import type { ProcessHost, Runnable } from "./runnable.ts";

export type { ProcessHost, Runnable, RunnableConfig } from "./runnable.ts";

export interface RunOptions {
  /** Called when everything is up. */
  readonly onReady?: () => void | Promise<void>;
  /** Default: the real process. */
  readonly host?: ProcessHost;
  /**
   * How many worker processes run the apps beside each other, on the same ports; or more about them. This process then runs none
   * itself: it starts them, replaces those that end, and stops them. Default 1: no other process than this.
   */
  readonly workers?: number | WorkersOptions;
}

type StopSignal = "SIGINT" | "SIGTERM";

const signalNumbers: Readonly<Record<StopSignal, number>> = { SIGINT: 2, SIGTERM: 15 };
/** Ctrl-C under a wrapper such as npm arrives twice, from the terminal and forwarded; that is one key press. */
const samePressMs = 100;
/** After an orderly end, what still holds the process open gets this long. */
const lingerMs = 2_000;
const longestTimerMs = 2 ** 31 - 1;
/** Where the handling of an error causes the next one, no orderly end would come. */
const maxFatalErrors = 100;

/**
 * Runs apps in one process: starts them in order, waits for SIGTERM, SIGINT or a fatal error, stops them in reverse.
 * SIGHUP reloads their config. A signal during the start cancels it; a second signal, {@link samePressMs} or more after the first, ends the process at once.
 * Two seconds after the end, what still holds the process open is named and cut off.
 *
 * @returns The exit code: 0 after an orderly stop, also of a start that a signal cancelled; 1 when a start or a stop failed,
 *   or after a fatal error at any time (`app.fail`; an uncaught exception or an unhandled rejection that the section `process` of
 *   the first app that is up does not keep); at once after a hundred.
 *   A second signal exits with 130 (SIGINT) or 143 (SIGTERM).
 *
 * Under the `plinth` command line, which sets `PLINTH_COMMAND`, it answers instead, and `onReady` is not called: 0, 1 when there
 * are faults to tell, 2 when the variable is not understood.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE`, `ERR_OPTION_TYPE`; {@link WorkersError} `ERR_WORKERS_STATE`.
 */
export async function runApps(apps: readonly Runnable[], options: RunOptions = {}): Promise<number> {
  const { host = process, onReady } = options;
  const workers = toWorkersOptions(options.workers ?? 1);
  let command: RunCommand | undefined;
  try {
    command = takeCommand(host);
  } catch (error) {
    host.stderr.write(`${messageOf(error)}\n`);
    return 2;
  }
  if (command === undefined && workers.count === 1) return runToEnd(apps, host, { onReady });
  if (command === undefined) {
    const { runWorkers } = await import("../workers/run-workers.ts"); // which few services need
    return runWorkers(workers, apps, host, { onReady, runToEnd });
  }
  const { answerCommand } = await import("./commands.ts"); // which no service needs
  return answerCommand(command, apps, host, (life) => runToEnd(apps, host, life));
}

/** What a run is told from outside, beside signals. */
export interface Life {
  readonly onReady: RunOptions["onReady"];
  /** Ends it in order, as a signal does. */
  readonly over?: AbortSignal;
  /** Ends the process at once, with the exit code that is its reason. */
  readonly atOnce?: AbortSignal;
}

/** Runs in this process that have not ended. */
let underWay = 0;

async function runToEnd(apps: readonly Runnable[], host: ProcessHost, life: Life): Promise<number> {
  underWay++;
  const over = Promise.withResolvers<void>();
  const cancelStart = new AbortController();
  const fatalErrors = new Set<unknown>();
  let asked: { readonly signal: StopSignal; readonly atMs: number } | undefined;
  const tell = (text: string): void => {
    host.stderr.write(`${text}\n`);
  };
  const writeAll = (): void => {
    for (const app of apps) {
      try {
        app.process?.flushSync();
        app.log?.flushSync();
      } catch (error) {
        tell(`log lines are lost: ${messageOf(error)}`);
      }
    }
  };
  const exit = (code: number): void => {
    writeAll();
    host.exit(code);
  };
  const end = (why: unknown): void => {
    cancelStart.abort(why);
    over.resolve();
  };
  const onSignal = (signal: StopSignal) => (): void => {
    if (asked === undefined) {
      asked = { signal, atMs: performance.now() };
      end(new Error(`${signal} arrived`));
    } else if (signal !== asked.signal || performance.now() - asked.atMs >= samePressMs) {
      exit(128 + signalNumbers[signal]);
    }
  };
  const onFatal = (thrown: unknown, text: string): void => {
    const error = rootOf(thrown); // an app wraps what is no error
    if (fatalErrors.has(error)) return;
    fatalErrors.add(error);
    if (fatalErrors.size > maxFatalErrors) exit(1);
    tell(`fatal error, stopping: ${text}`);
    end(thrown);
  };
  life.over?.addEventListener("abort", () => end(life.over?.reason), { once: true });
  life.atOnce?.addEventListener("abort", () => exit(Number(life.atOnce?.reason)), { once: true });
  const firstUp = (): Runnable | undefined => apps.find((app) => app.process !== undefined);
  const onCrash = (event: "uncaughtException" | "unhandledRejection") => (error: unknown) => {
    const app = firstUp() ?? apps[0];
    if (app?.process?.keeps(event, error) === true) return;
    onFatal(error, stackOf(error));
    app?.fail(error, "process");
  };
  const onReload = (): void => {
    for (const { name, config } of apps) {
      config?.reload?.().catch((error: unknown) => tell(`${name}: the config stays as it is: ${messageOf(error)}`));
    }
  };
  const listeners = {
    SIGINT: onSignal("SIGINT"),
    SIGTERM: onSignal("SIGTERM"),
    SIGHUP: onReload,
    uncaughtException: onCrash("uncaughtException"),
    unhandledRejection: onCrash("unhandledRejection"),
    warning: (warning: unknown): void => firstUp()?.process?.warn(warning),
    exit: writeAll, // also when somebody else calls `process.exit`
  };
  for (const [event, listener] of Object.entries(listeners)) host.on(event, listener);
  // Waiting for a signal does not by itself keep a process alive, and an app need not have anything open that does.
  const keepAlive = setInterval(() => {}, longestTimerMs);
  const onFailure = (error: unknown): void => onFatal(error, messageOf(error));
  for (const app of apps) void app.failure.then(onFailure, onFailure);

  const started: Runnable[] = [];
  let failures = 0;
  try {
    for (const app of apps) {
      if (cancelStart.signal.aborted) break;
      started.push(app);
      await app.start({ signal: cancelStart.signal });
    }
    if (!cancelStart.signal.aborted) await Promise.race([life.onReady?.(), over.promise]);
    await over.promise;
  } catch (error) {
    tell(`${started.at(-1)?.name ?? "app"} did not start: ${messageOf(error)}`);
    const wasCancelled =
      (asked !== undefined || life.over?.aborted === true) && AppError.from(error).status === "cancelled";
    if (!wasCancelled) failures++;
  }
  for (const app of started.toReversed()) {
    try {
      await app.stop();
    } catch (error) {
      failures++;
      tell(`${app.name} did not stop in order: ${messageOf(error)}`);
    }
  }
  for (const [event, listener] of Object.entries(listeners)) host.off(event, listener);
  clearInterval(keepAlive);
  underWay--;
  const code = failures + fatalErrors.size > 0 ? 1 : 0;
  // Unreferenced: it only fires when a handle that somebody forgot keeps the process alive.
  setTimeout(() => {
    if (underWay > 0) return; // the process has gone on to another run
    tell(`still open ${lingerMs} ms after the stop: ${process.getActiveResourcesInfo().join(", ")}; exiting`);
    exit(code);
  }, lingerMs).unref();
  return code;
}

function stackOf(error: unknown): string {
  try {
    return isError(error) && typeof error.stack === "string" ? error.stack : messageOf(error);
  } catch {
    return messageOf(error); // a getter that throws
  }
}
