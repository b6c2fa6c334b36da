import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { describe, it } from "node:test";
import { setTimeout as setTimer } from "node:timers/promises";
import { runInContext, runOutsideContext } from "../context.ts";
import { coreModule } from "../core-module.ts";
import { messageOf } from "../errors/app-error.ts";
import { errorBus, errorReporters } from "../errors/module.ts";
import { logger } from "../logger/module.ts";
import { createApp } from "./create-app.ts";
import { defineModule, type Module } from "./module.ts";
import { type HookContext, provider } from "./provider.ts";
import { type ProcessHost, type Runnable, runApps } from "./run.ts";
import type { ProcessErrors } from "./runnable.ts";
import { token } from "./token.ts";
import { appControl } from "./tokens.ts";

const say = (text: string): void => void process.stdout.write(`${text}\n`);
const untilAborted = ({ signal }: HookContext): Promise<void> =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
const never = (): Promise<never> => new Promise(() => {});

/** `base`, and `service` that needs it, so that there is an order to see. */
function partsOf(service: { start?: (context: HookContext) => unknown; stop?: () => unknown } = {}): Module {
  const base = token("base").of<string>();
  return defineModule("parts", [
    provider({ provides: base, create: () => "base", stop: () => say("base stopped") }),
    provider({
      provides: token("service").of<string>(),
      needs: { base, log: logger },
      create: () => "service",
      start: async (_, context) => void (await service.start?.(context)),
      async stop() {
        say("service stops");
        await service.stop?.();
      },
    }),
  ]);
}

/** Errors that nobody deals with, one after the other, from inside of three requests and from outside of any. */
function throwInTurn(): void {
  const fail = (text: string, next: () => void) => (): never => {
    runOutsideContext(next);
    throw new Error(text);
  };
  const inRequest = (digit: string, work: () => unknown): void => {
    const span = { traceId: digit.repeat(32), spanId: digit.repeat(16), sampled: false };
    runInContext({ requestId: `r${digit}`, span }, work);
  };
  const steps: readonly ((next: () => void) => unknown)[] = [
    (next) => inRequest("1", () => setTimeout(fail("in a timer", next), 1)),
    (next) => inRequest("2", () => void setTimer(1).then(fail("rejected later", next))),
    (next) => inRequest("3", () => setTimeout(() => setImmediate(fail("in an immediate", next)), 1)),
    (next) => setTimeout(fail("in no request", next), 1),
    () => setTimeout(() => say("ready"), 10),
  ];
  const take = (index: number): unknown => steps[index]?.(() => take(index + 1));
  take(0);
}

/** A reporter that causes a warning of the process each time it is told of anything. */
const warnsOfEach = provider({
  provides: errorReporters,
  create: () => ({ name: "warns", report: () => process.emitWarning("reporting is old", "DeprecationWarning") }),
});

/** The argument names the program. */
const config = { environment: {}, arguments: [] };

/** Programs that the tests run as processes of their own: this file with a name as its argument. */
const programs: Readonly<Record<string, () => Promise<number>>> = {
  orderly: () => run(partsOf()),
  // Nothing of this app is open while it waits: it must wait all the same.
  idle: async () => {
    const idle = provider({ provides: token("idle").of<string>(), create: () => "idle", start: () => {} });
    const app = createApp({ name: "idle", modules: [defineModule("idle", [idle])], config });
    process.once("beforeExit", () => say("nothing left to do"));
    // unreferenced, so that it holds nothing open itself
    return app.run({ onReady: () => void setTimeout(() => say("ready"), 50).unref() });
  },
  "failing start": () =>
    run(
      partsOf({
        start() {
          throw new Error("no such bucket");
        },
      }),
    ),
  "failing stop": () => run(partsOf({ stop: () => Promise.reject(new Error("still busy")) })),
  "hanging stop": () =>
    run(
      partsOf({
        stop: async () => {
          setTimeout(() => say("a moment later"), 150);
          await never();
        },
      }),
    ),
  "slow start": () => run(partsOf({ start: (context) => (say("starting"), untilAborted(context)) })),
  "stubborn start": () =>
    run(
      partsOf({
        start: (context) => (say("starting"), untilAborted(context)),
        stop: () => Promise.reject(new Error("still busy")),
      }),
    ),
  "fatal error": () => {
    const failing = provider({
      provides: token("failing").of<string>(),
      needs: { control: appControl },
      create({ control }) {
        setTimeout(() => control.fail(new Error("port was taken away"), "stream"), 10);
        return "failing";
      },
      start: () => {},
    });
    return run(defineModule("all", [partsOf(), failing]));
  },
  "uncaught exception": () =>
    run(partsOf(), () =>
      setImmediate(() => {
        throw new Error("nobody caught me");
      }),
    ),
  "unhandled rejection": () => run(partsOf(), () => void Promise.reject(new Error("nobody handled me"))),
  "crash while stopping": () =>
    run(
      partsOf({
        stop: () =>
          new Promise<void>((resolve) => {
            setImmediate(() => {
              setImmediate(resolve);
              throw new Error("late crash");
            });
          }),
      }),
    ),
  "kept errors": () => run(partsOf(), throwInTurn, { uncaughtException: "keep", unhandledRejection: "keep" }),
  "too many kept errors": () =>
    run(partsOf(), throwInTurn, { uncaughtException: "keep", unhandledRejection: "keep", maxKept: 2 }),
  "process warnings": () =>
    run(defineModule("all", [partsOf(), warnsOfEach]), () => {
      for (let count = 0; count < 3; count++) process.emitWarning("this is old", "DeprecationWarning", "DEP_TEST");
      setTimeout(() => say("ready"), 50);
    }),
  "exit with reports waiting": () => {
    const exits = provider({
      provides: token("exits").of<string>(),
      needs: { errors: errorBus },
      create({ errors }) {
        setTimeout(() => {
          for (let id = 0; id < 5; id++) errors.report(new Error(`no note ${id}`), { origin: "job" });
          errors.report(new Error("no disk"), { origin: "job" });
          process.exit(3);
        }, 10);
        return "exits";
      },
      start: () => {},
    });
    return run(defineModule("all", [partsOf(), exits]));
  },
  "leftover handle": () => {
    setInterval(() => {}, 60_000);
    return run(partsOf());
  },
  "many lines": () => {
    const talker = provider({
      provides: token("talker").of<string>(),
      needs: { log: logger },
      create: () => "talker",
      start: () => {},
      stop: () => {},
    });
    const chatty = provider({
      provides: token("chatty").of<string>(),
      needs: { log: logger },
      create: ({ log }) => {
        process.once("SIGTERM", () => {
          for (let line = 0; line < 3_000; line++) log.info("line", { line });
        });
        return "chatty";
      },
      start: () => {},
    });
    return run(defineModule("all", [talker, chatty]));
  },
};

async function run(
  parts: Module,
  onReady: () => unknown = () => say("ready"),
  policy: Record<string, unknown> = {},
): Promise<number> {
  const app = createApp({
    name: "program",
    modules: [coreModule, parts],
    config: { ...config, overrides: { lifecycle: { announceDelayMs: 0 }, process: policy } },
  });
  return app.run({ onReady: async () => void (await onReady()) });
}

const program = programs[process.argv[2] ?? ""];
if (program) process.exitCode = await program();
else tests();

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly tookMs: number;
}

/** Runs a program; when a line of its output begins with one of `on`, sends that signal. */
async function runProgram(name: string, on: Readonly<Record<string, NodeJS.Signals>> = {}): Promise<Ended> {
  const startedAtMs = performance.now();
  const child = spawn(process.execPath, ["--conditions=plinth-source", import.meta.filename, name], { stdio: "pipe" });
  const output = { stdout: "", stderr: "" };
  const waiting = new Map(Object.entries(on));
  const listen = (stream: "stdout" | "stderr"): void => {
    child[stream].setEncoding("utf8").on("data", (text: string) => {
      output[stream] += text;
      for (const [line, signal] of waiting) {
        if (!`\n${output.stdout}`.includes(`\n${line}`)) continue;
        waiting.delete(line);
        child.kill(signal);
      }
    });
  };
  listen("stdout");
  listen("stderr");
  const code = await exitOf(child);
  return { code, ...output, tookMs: performance.now() - startedAtMs };
}

async function exitOf(child: ChildProcess): Promise<number | null> {
  const [code] = (await once(child, "close")) as [number | null];
  return code;
}

/** Log lines of a program's output, without what it said beside. */
function linesOf({ stdout }: Ended): Record<string, unknown>[] {
  return stdout
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

function tests(): void {
  describe("a running app", { concurrency: 3 }, () => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      it(`stops in order at ${signal} and exits with 0, its last log line written`, async () => {
        const ended = await runProgram("orderly", { ready: signal });
        assert.equal(ended.code, 0, ended.stderr);
        assert.match(ended.stdout, /ready\n[^]*service stops\n[^]*base stopped\n/);
        assert.deepEqual(
          linesOf(ended).map(({ message }) => message),
          ["app ready", "app draining", "app stopping", "app stopped"],
        );
        assert.equal(ended.stderr, "");
      });
    }

    it("waits for a signal also when nothing of it keeps the process alive", async () => {
      const ended = await runProgram("idle", { ready: "SIGTERM" });
      assert.equal(ended.code, 0);
      assert.equal(ended.stdout.split("\n")[0], "ready");
    });

    it("exits with 1 when it cannot start, naming who failed and who needs it, once", async () => {
      const ended = await runProgram("failing start");
      assert.equal(ended.code, 1);
      assert.match(
        ended.stderr,
        /^program did not start: start of "service" \(module parts, .*run\.test\.ts:\d+\) failed: no such bucket\n$/,
      );
      assert.match(ended.stdout, /service stops\n[^]*base stopped\n/);
    });

    it("exits with 1 when a stop fails, and says which", async () => {
      const ended = await runProgram("failing stop", { ready: "SIGTERM" });
      assert.equal(ended.code, 1);
      assert.match(
        ended.stderr,
        /^program did not stop in order: 1 hook failed while stopping: stop of "service".*: still busy\n$/,
      );
      assert.match(ended.stdout, /base stopped/);
    });

    it("is cancelled by a signal during the start, puts all back in order, and exits with 0", async () => {
      const ended = await runProgram("slow start", { starting: "SIGTERM" });
      assert.equal(ended.code, 0);
      assert.match(ended.stderr, /^program did not start: start of "service".* was cancelled: SIGTERM arrived\n$/);
      assert.match(ended.stdout, /service stops\n[^]*base stopped\n/);
      assert.doesNotMatch(ended.stdout, /ready/);
    });

    it("exits with 1 when what a signal cancelled cannot be put back in order", async () => {
      const ended = await runProgram("stubborn start", { starting: "SIGTERM" });
      assert.equal(ended.code, 1);
      assert.match(ended.stderr, /SIGTERM arrived; and while stopping what had started: .*still busy/);
    });

    const seconds: readonly (readonly [NodeJS.Signals, NodeJS.Signals, number, string])[] = [
      ["SIGTERM", "SIGINT", 130, "service stops"],
      ["SIGINT", "SIGTERM", 143, "service stops"],
      ["SIGINT", "SIGINT", 130, "a moment later"],
      ["SIGTERM", "SIGTERM", 143, "a moment later"],
    ];
    for (const [first, second, code, when] of seconds) {
      it(`ends at once with ${code} at ${second} after ${first}`, async () => {
        const ended = await runProgram("hanging stop", { ready: first, [when]: second });
        assert.equal(ended.code, code);
        assert.doesNotMatch(ended.stdout, /base stopped/);
      });
    }

    it("stops in order after a fatal error, exits with 1, and the error is in the log once", async () => {
      const ended = await runProgram("fatal error");
      assert.equal(ended.code, 1);
      assert.equal(ended.stderr, "fatal error, stopping: port was taken away\n");
      assert.match(ended.stdout, /base stopped/);
      const fatal = linesOf(ended).filter(({ level }) => level === "fatal");
      assert.deepEqual(
        fatal.map(({ message, origin, handled }) => [message, origin, handled]),
        [["port was taken away", "stream", false]],
      );
    });

    for (const [name, text] of [
      ["uncaught exception", "nobody caught me"],
      ["unhandled rejection", "nobody handled me"],
    ] as const) {
      it(`stops in order after an ${name}, exits with 1, and shows its stack`, async () => {
        const ended = await runProgram(name);
        assert.equal(ended.code, 1);
        assert.match(ended.stderr, new RegExp(`^fatal error, stopping: Error: ${text}\n    at .*run\\.test\\.ts`));
        assert.match(ended.stdout, /base stopped/);
        const fatal = linesOf(ended).filter(({ level }) => level === "fatal");
        assert.deepEqual(
          fatal.map(({ message, origin }) => [message, origin]),
          [[text, "process"]],
        );
      });
    }

    it("goes on after errors of the process that it keeps, each in the log with the ids of where it came from", async () => {
      const ended = await runProgram("kept errors", { ready: "SIGTERM" });
      assert.equal(ended.code, 0);
      assert.equal(ended.stderr, "");
      assert.deepEqual(
        linesOf(ended)
          .filter(({ level }) => level === "error")
          .map(({ message, handled, event, trace_id, request_id }) => [
            message,
            handled,
            event,
            String(trace_id).slice(0, 2),
            request_id,
          ]),
        [
          ["in a timer", false, "uncaughtException", "11", "r1"],
          ["rejected later", false, "unhandledRejection", "22", "r2"],
          ["in an immediate", false, "uncaughtException", "33", "r3"],
          ["in no request", false, "uncaughtException", "un", undefined],
        ],
      );
    });

    it("stops after more errors of the process than it keeps, and says why", async () => {
      const ended = await runProgram("too many kept errors");
      assert.equal(ended.code, 1);
      const lines = linesOf(ended).filter(({ level }) => level === "error" || level === "fatal");
      assert.deepEqual(
        lines.slice(0, 4).map(({ level, message, request_id }) => [level, message, request_id]),
        [
          ["error", "in a timer", "r1"],
          ["error", "rejected later", "r2"],
          ["error", "stopping, though errors of the process are kept: there are too many in a minute", "r3"],
          ["fatal", "in an immediate", "r3"],
        ],
      );
      assert.match(ended.stderr, /^fatal error, stopping: Error: in an immediate/);
    });

    it("reports a warning of the process once, also when a reporter causes one by each report", async () => {
      const ended = await runProgram("process warnings", { ready: "SIGTERM" });
      assert.equal(ended.code, 0);
      assert.deepEqual(
        linesOf(ended)
          .filter(({ level }) => level === "warn")
          .map(({ message, origin }) => [message, origin]),
        [
          ["DeprecationWarning: this is old", "process"],
          ["DeprecationWarning: reporting is old", "process"],
        ],
      );
    });

    it("loses no report that waits for the log when somebody exits the process", async () => {
      const ended = await runProgram("exit with reports waiting");
      assert.equal(ended.code, 3);
      assert.deepEqual(
        linesOf(ended)
          .filter(({ level }) => level === "error")
          .map(({ message, count }) => [message, count]),
        [
          ["no note 0", undefined],
          ["no disk", undefined],
          ["no note 4", 4],
        ],
      );
    });

    it("exits with 1 for an exception that nobody caught while it stops, and goes on stopping", async () => {
      const ended = await runProgram("crash while stopping", { ready: "SIGTERM" });
      assert.equal(ended.code, 1);
      assert.match(ended.stderr, /^fatal error, stopping: Error: late crash/);
      assert.match(ended.stdout, /base stopped/);
    });

    it("is not held by a handle that somebody forgot: it is named and cut off", async () => {
      const ended = await runProgram("leftover handle", { ready: "SIGTERM" });
      assert.equal(ended.code, 0);
      assert.match(ended.stderr, /^still open 2000 ms after the stop: .*Timeout.*; exiting\n$/);
      assert.ok(ended.tookMs < 20_000);
    });

    it("loses no log line of its stop", async () => {
      const ended = await runProgram("many lines", { ready: "SIGTERM" });
      assert.equal(ended.code, 0);
      const numbers = linesOf(ended).flatMap(({ line }) => (typeof line === "number" ? line : []));
      assert.deepEqual(
        numbers,
        Array.from({ length: 3_000 }, (_, line) => line),
      );
    });
  });

  /** A process that the test plays. */
  class FakeHost implements ProcessHost {
    readonly exits: number[] = [];
    readonly said: string[] = [];
    readonly stderr = { write: (text: string) => this.said.push(text) };
    readonly listeners = new Map<string, (...args: never[]) => void>();

    on(event: string, listener: (...args: never[]) => void): void {
      this.listeners.set(event, listener);
    }

    off(event: string, listener: (...args: never[]) => void): void {
      if (this.listeners.get(event) === listener) this.listeners.delete(event);
    }

    emit(event: string, ...args: unknown[]): void {
      const listener = this.listeners.get(event);
      if (listener) Reflect.apply(listener, undefined, args);
    }

    exit(code: number): void {
      this.exits.push(code);
    }
  }

  class FakeApp implements Runnable {
    readonly name: string;
    readonly #failure = Promise.withResolvers<unknown>();
    readonly #journal: string[];
    readonly #hooks: { readonly start?: (signal: AbortSignal) => unknown; readonly stop?: () => unknown };

    constructor(
      name: string,
      journal: string[],
      hooks: { start?: (signal: AbortSignal) => unknown; stop?: () => unknown } = {},
    ) {
      this.name = name;
      this.#journal = journal;
      this.#hooks = hooks;
    }

    get failure(): Promise<unknown> {
      return this.#failure.promise;
    }

    async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
      this.#journal.push(`start ${this.name}`);
      await this.#hooks.start?.(signal);
    }

    async stop(): Promise<void> {
      this.#journal.push(`stop ${this.name}`);
      await this.#hooks.stop?.();
    }

    fail(error: unknown): void {
      this.#failure.resolve(error);
    }
  }

  describe("runApps", () => {
    it("starts apps in order, stops them in reverse, and leaves no listener", async () => {
      const host = new FakeHost();
      const journal: string[] = [];
      const apps = ["a", "b", "c"].map((name) => new FakeApp(name, journal));
      const code = runApps(apps, { host, onReady: () => host.emit("SIGTERM") });
      assert.equal(await code, 0);
      assert.deepEqual(journal, ["start a", "start b", "start c", "stop c", "stop b", "stop a"]);
      assert.equal(host.listeners.size, 0);
      assert.deepEqual(host.said, []);
    });

    it("starts no further app once one has failed, and stops those before and the one itself", async () => {
      const host = new FakeHost();
      const journal: string[] = [];
      const failing = { start: () => Promise.reject(new Error("no")) };
      const apps = [new FakeApp("a", journal), new FakeApp("b", journal, failing), new FakeApp("c", journal)];
      assert.equal(await runApps(apps, { host }), 1);
      assert.deepEqual(journal, ["start a", "start b", "stop b", "stop a"]);
      assert.deepEqual(host.said, ["b did not start: no\n"]);
    });

    it("starts no further app after a signal that the one at work ignored", async () => {
      const host = new FakeHost();
      const journal: string[] = [];
      const apps = [new FakeApp("a", journal, { start: () => host.emit("SIGINT") }), new FakeApp("b", journal)];
      assert.equal(await runApps(apps, { host }), 0);
      assert.deepEqual(journal, ["start a", "stop a"]);
    });

    it("takes two equal signals at once for one, and two different ones for two", async () => {
      for (const [second, exits] of [
        ["SIGINT", []],
        ["SIGTERM", [143]],
      ] as const) {
        const host = new FakeHost();
        const app = new FakeApp("a", []);
        const onReady = (): void => {
          host.emit("SIGINT");
          host.emit(second);
        };
        assert.equal(await runApps([app], { host, onReady }), 0);
        assert.deepEqual(host.exits, exits);
      }
    });

    it("has the lines of every log written before it ends at once, also when one cannot be", async () => {
      const host = new FakeHost();
      let flushed = 0;
      const [broken, whole] = [
        () => {
          throw new Error("disk full");
        },
        () => void flushed++,
      ].map((flushSync, index) => Object.assign(new FakeApp(`app${index}`, []), { log: { flushSync } }));
      assert.ok(broken && whole);
      const onReady = (): void => {
        host.emit("SIGINT");
        host.emit("SIGTERM");
        assert.deepEqual([host.exits, flushed], [[143], 1]);
      };
      assert.equal(await runApps([broken, whole], { host, onReady }), 0);
      assert.deepEqual(host.said, ["log lines are lost: disk full\n"]);
    });

    it("stops every app though one before it cannot be stopped", async () => {
      const host = new FakeHost();
      const journal: string[] = [];
      const stuck = { stop: () => Promise.reject(new Error("stuck")) };
      const apps = [new FakeApp("a", journal), new FakeApp("b", journal, stuck)];
      assert.equal(await runApps(apps, { host, onReady: () => host.emit("SIGTERM") }), 1);
      assert.deepEqual(journal.slice(-2), ["stop b", "stop a"]);
      assert.deepEqual(host.said, ["b did not stop in order: stuck\n"]);
    });

    it("ends for the first app that fails, whichever, also before the start, and says it once", async () => {
      const host = new FakeHost();
      const journal: string[] = [];
      const apps = [new FakeApp("a", journal), new FakeApp("b", journal)];
      const error = new Error("broken");
      apps[1]?.fail(error);
      assert.equal(await runApps(apps, { host }), 1);
      assert.deepEqual(journal, ["start a", "stop a"]);
      assert.deepEqual(host.said, ["fatal error, stopping: broken\n"]);
    });

    it("cancels the start of an app when another has failed", async () => {
      const host = new FakeHost();
      const journal: string[] = [];
      const first = new FakeApp("a", journal);
      const waiting = new FakeApp("b", journal, {
        start: (signal) => (first.fail(new Error("broken")), untilAborted({ signal })),
      });
      assert.equal(await runApps([first, waiting], { host }), 1);
      assert.deepEqual(journal, ["start a", "start b", "stop b", "stop a"]);
    });

    it("tells the first app of a crash, so that its error bus has it", async () => {
      const host = new FakeHost();
      const app = new FakeApp("a", []);
      const error = new Error("crash");
      const code = runApps([app], { host, onReady: () => host.emit("uncaughtException", error) });
      assert.equal(await code, 1);
      assert.equal(await app.failure, error);
      assert.equal(host.said.length, 1);
    });

    /** An app that is up, and keeps what it is told. */
    class UpApp extends FakeApp {
      readonly told: string[] = [];
      readonly process: ProcessErrors = {
        keeps: (event, error) => {
          this.told.push(`${event} ${messageOf(error)}`);
          return messageOf(error) !== "too many";
        },
        warn: (warning) => void this.told.push(`warning ${messageOf(warning)}`),
        flushSync: () => void this.told.push("flush"),
      };
    }

    it("gives what nobody caught, and warnings, to the first app that is up", async () => {
      const host = new FakeHost();
      const down = new FakeApp("down", []);
      const [up, other] = [new UpApp("up", []), new UpApp("other", [])];
      const onReady = (): void => {
        host.emit("uncaughtException", new Error("a"));
        host.emit("unhandledRejection", new Error("b"));
        host.emit("warning", new Error("c"));
        host.emit("exit", 0);
        host.emit("SIGTERM");
      };
      assert.equal(await runApps([down, up, other], { host, onReady }), 0);
      assert.deepEqual(up.told, ["uncaughtException a", "unhandledRejection b", "warning c", "flush"]);
      assert.deepEqual(other.told, ["flush"]);
      assert.deepEqual([host.said, host.listeners.size], [[], 0]);
    });

    it("stops all of them, by the one that was told, for an error that this one does not keep", async () => {
      const host = new FakeHost();
      const down = new FakeApp("down", []);
      const up = new UpApp("up", []);
      const error = new Error("too many");
      const code = runApps([down, up], { host, onReady: () => host.emit("uncaughtException", error) });
      assert.equal(await code, 1);
      assert.equal(await up.failure, error);
      assert.match(host.said.join(""), /^fatal error, stopping: Error: too many/);
    });

    it("passes over warnings while no app is up", async () => {
      const host = new FakeHost();
      const onReady = (): void => {
        host.emit("warning", new Error("old"));
        host.emit("SIGTERM");
      };
      assert.equal(await runApps([new FakeApp("a", [])], { host, onReady }), 0);
      assert.deepEqual(host.said, []);
    });

    it("hears signals also while its ready callback hangs", async () => {
      const host = new FakeHost();
      const journal: string[] = [];
      const onReady = (): Promise<void> => (host.emit("SIGTERM"), never());
      assert.equal(await runApps([new FakeApp("a", journal)], { host, onReady }), 0);
      assert.deepEqual(journal, ["start a", "stop a"]);
    });

    it("stops, and returns 1, when its ready callback fails", async () => {
      const host = new FakeHost();
      const journal: string[] = [];
      const onReady = (): Promise<void> => Promise.reject(new Error("cannot print"));
      assert.equal(await runApps([new FakeApp("a", journal)], { host, onReady }), 1);
      assert.deepEqual(journal, ["start a", "stop a"]);
      assert.deepEqual(host.said, ["a did not start: cannot print\n"]);
    });

    it("says an error that an app wraps once", async () => {
      const host = new FakeHost();
      const app = createApp({ name: "wrapping", modules: [], config: { environment: {} } });
      const onReady = (): void => host.emit("unhandledRejection", { reason: "no" });
      assert.equal(await runApps([app], { host, onReady }), 1);
      assert.deepEqual(host.said, ["fatal error, stopping: an object that is no error, with 1 key: reason\n"]);
    });

    it("ends at once when one error causes the next without end", async () => {
      const host = new FakeHost();
      const app = createApp({ name: "looping", modules: [], config: { environment: {} } });
      let crashes = 0;
      app.events.subscribe((event) => {
        if (event.type === "fatal" && host.exits.length === 0)
          host.emit("uncaughtException", new Error(`crash ${++crashes}`));
      });
      await runApps([app], { host, onReady: () => host.emit("uncaughtException", new Error("first")) });
      assert.deepEqual(host.exits, [1]);
      assert.equal(crashes, 100);
    });

    it("runs no app at all until told to end", async () => {
      const host = new FakeHost();
      const code = runApps([], { host });
      host.emit("SIGTERM");
      assert.equal(await code, 0);
    });

    for (const [name, thrown] of Object.entries({
      undefined,
      text: "text",
    })) {
      it(`survives a crash with ${name}`, async () => {
        const host = new FakeHost();
        const app = new FakeApp("a", []);
        assert.equal(await runApps([app], { host, onReady: () => host.emit("unhandledRejection", thrown) }), 1);
        assert.equal(host.said.length, 1);
      });
    }
  });
}
