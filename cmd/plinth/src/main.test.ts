import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { text } from "node:stream/consumers";
import { describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import {
  type App,
  appDocuments,
  coreModule,
  createApp,
  defineModule,
  healthSettings,
  type HookContext,
  logger,
  type Module,
  provider,
  runApps,
  token,
} from "@plinth/kernel";

const notes = token("notes").of<string>();
const storage = token("storage").of<string>();
const say = (words: string): void => void process.stdout.write(`${words}\n`);

interface Hooks {
  readonly start?: (context: HookContext) => void | Promise<void>;
}

function notesOf({ start = () => say("notes started") }: Hooks = {}): Module {
  return defineModule("notes", [
    provider({ provides: storage, create: () => "storage", stop: () => say("storage stopped") }),
    provider({
      provides: notes,
      needs: { storage, log: logger, settings: healthSettings },
      create: () => "notes",
      start: (_, context) => start(context),
    }),
  ]);
}

const appOf = (name: string, modules: readonly Module[]): App =>
  createApp({ name, modules, config: { defaults: { lifecycle: { announceDelayMs: 0 } } } });
const healthy = (): App => appOf("notes", [coreModule, notesOf()]);

/** What needs itself by a detour, and what nothing provides. */
function faultyModule(): Module {
  const a = token("a").of<string>();
  const b = token("b").of<string>();
  const gone = token("gone").of<string>();
  return defineModule("faulty", [
    provider({ provides: a, needs: { b }, create: () => "a", start: () => say("a started") }),
    provider({ provides: b, needs: { a, gone }, create: () => "b" }),
  ]);
}

const untilAborted = ({ signal }: HookContext): Promise<void> =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));

/** Mains that the tests point the command line at: this file, with a name in the environment. */
const programs: Readonly<Record<string, () => number | Promise<number>>> = {
  healthy: () => {
    say("a line that is no answer");
    process.send?.({ type: "ready" });
    return healthy().run({ onReady: () => say("never said") });
  },
  two: () => runApps([healthy(), appOf("greeter", [coreModule])]),
  "one after the other": async () => {
    await healthy().run();
    return appOf("greeter", [coreModule]).run();
  },
  api: () => {
    const document = provider({
      provides: appDocuments,
      needs: { storage },
      create: () => ({
        name: "openapi",
        write: () => ({ text: '{"openapi":"3.1.1"}\n', faults: [], warnings: ["vague"] }),
      }),
    });
    return runApps([healthy(), appOf("api", [coreModule, notesOf(), defineModule("api", [document])])]);
  },
  faulty: () => appOf("faulty", [faultyModule()]).run(),
  "failing start": () => {
    const start = (): never => {
      throw new Error("no such bucket");
    };
    return appOf("notes", [coreModule, notesOf({ start })]).run();
  },
  "waiting start": () => {
    const start = (context: HookContext): Promise<void> => {
      say("starting");
      return untilAborted(context);
    };
    return appOf("notes", [coreModule, notesOf({ start })]).run();
  },
  large: () => {
    const providers = Array.from({ length: 1_000 }, (_, index) =>
      provider({ provides: token(`part-${index}`).of<number>(), create: () => index, start: () => {} }),
    );
    return appOf("large", [defineModule("large", providers)]).run();
  },
  throws: () => {
    throw new Error("at import");
  },
  silent: () => 0,
  options: () => {
    say(process.execArgv.join(" "));
    return healthy().run();
  },
  hangs: () => {
    say("hanging");
    setInterval(() => {}, 60_000);
    return 0;
  },
  stubborn: () => {
    process.on("SIGTERM", () => {
      say("no");
      setTimeout(() => say("still here"), 2_000);
    });
    setInterval(() => {}, 60_000);
    say("hanging");
    return 0;
  },
  "held open": () => {
    setInterval(() => {}, 60_000);
    return healthy().run();
  },
  "fails afterwards": async () => {
    await healthy().run();
    throw new Error("afterwards");
  },
};

const program = programs[process.env.PROGRAM ?? ""];
if (program) process.exitCode = await program();
else tests();

const thisFile = relative(process.cwd(), import.meta.filename);

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(args: readonly string[], env: Record<string, string> = {}): ChildProcess {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(PLINTH_|NODE_TEST_CONTEXT$)/.test(name));
  return spawn(process.execPath, ["--conditions=plinth-source", join(import.meta.dirname, "main.ts"), ...args], {
    env: { ...Object.fromEntries(inherited), ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

async function endOf(child: ChildProcess): Promise<Ended> {
  const { stdout, stderr } = child;
  assert.ok(stdout && stderr);
  const closed = once(child, "close") as Promise<[number | null]>;
  const [out, errors] = await Promise.all([text(stdout), text(stderr)]);
  const [code] = await closed;
  return { code, stdout: out, stderr: errors };
}

const plinth = (args: readonly string[], env?: Record<string, string>): Promise<Ended> => endOf(start(args, env));
/** Of one of the programs above. */
const ask = (command: string, name: string, ...options: string[]): Promise<Ended> =>
  plinth([command, thisFile, ...options], { PROGRAM: name });

/** Sends each signal when the words before it stand on standard error. */
function signalAt(child: ChildProcess, ...steps: readonly (readonly [string, NodeJS.Signals])[]): Promise<Ended> {
  const waiting = [...steps];
  let seen = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    seen += chunk.toString();
    while (waiting[0] && seen.includes(waiting[0][0])) child.kill(waiting.shift()?.[1]);
  });
  return endOf(child);
}

function tests(): void {
  describe("plinth", () => {
    it("tells all commands and options with --help, and its version with --version", async () => {
      const { version } = JSON.parse(await readFile(join(import.meta.dirname, "../package.json"), "utf8"));
      const [help, told] = await Promise.all([plinth(["--help"]), plinth(["--version"])]);
      assert.deepEqual([help.code, help.stderr], [0, ""]);
      for (const word of ["plinth graph MAIN", "plinth config MAIN", "--format", "--start", "--json", "--schema"]) {
        assert.ok(help.stdout.includes(word), word);
      }
      assert.deepEqual(told, { code: 0, stdout: `${version}\n`, stderr: "" });
    });

    it("ends with 2 and says what is wrong, on standard error, when the command line is faulty", async () => {
      assert.deepEqual(await plinth(["grpah", "main.ts"]), {
        code: 2,
        stdout: "",
        stderr: `plinth: there is no command "grpah"; did you mean "graph"?\nplinth --help tells all commands and options\n`,
      });
    });
  });

  describe("plinth openapi", { concurrency: 2 }, () => {
    it("prints the document and nothing else, says on standard error what it could not tell, and starts nothing", async () => {
      const told = { code: 0, stdout: '{"openapi":"3.1.1"}\n', stderr: "api: warning: vague\n" };
      assert.deepEqual(await ask("openapi", "api"), told);
      assert.deepEqual(await ask("openapi", "api", "--app", "api"), told);
    });

    it("ends with 1 where no app has one, and where there is no such app", async () => {
      const [none, unknown] = await Promise.all([ask("openapi", "two"), ask("openapi", "api", "--app=other")]);
      assert.deepEqual([none.code, none.stdout], [1, ""]);
      assert.equal(none.stderr, 'no module of notes, greeter writes a document "openapi"\n');
      assert.deepEqual(unknown, { code: 1, stdout: "", stderr: 'there is no app "other"; there is notes, api\n' });
    });
  });

  describe("plinth graph", { concurrency: 2 }, () => {
    it("shows the graph of a main that it does not run, and nothing else on standard output", async () => {
      const { code, stdout, stderr } = await ask("graph", "healthy");
      assert.equal(code, 0, stderr);
      assert.match(stdout, /^notes: created\n/);
      assert.match(stdout, /^notes · module notes\n├─ storage · module notes\n├─ logger /m);
      assert.equal(stderr, "a line that is no answer\n");
    });

    it("shows it as DOT, as Mermaid and as JSON", async () => {
      const [dot, mermaid, json] = await Promise.all(
        ["dot", "mermaid", "json"].map((format) => ask("graph", "healthy", "--format", format)),
      );
      assert.match(dot?.stdout ?? "", /^digraph "notes" \{\n/);
      assert.match(mermaid?.stdout ?? "", /^---\ntitle: "notes: created"\n---\nflowchart LR\n/);
      const { app, state, nodes } = JSON.parse(json?.stdout ?? "");
      assert.deepEqual([app, state], ["notes", "created"]);
      const { needs } = nodes.find(({ id }: { id: string }) => id === "notes");
      assert.deepEqual(
        needs.map((need: { token: string }) => need.token),
        ["storage", "logger", "health"],
      );
    });

    it("loads the main with the options of its own Node", async () => {
      const { code, stderr } = await ask("graph", "options");
      assert.deepEqual([code, stderr], [0, "--conditions=plinth-source\n"]);
    });

    for (const name of ["two", "one after the other"]) {
      it(`shows each app of a main with ${name}`, async () => {
        const [tree, json] = await Promise.all([ask("graph", name), ask("graph", name, "--format=json")]);
        assert.match(tree.stdout, /^notes: created\n[^]*\n\ngreeter: created\n/);
        const apps = JSON.parse(json.stdout).map(({ app }: { app: string }) => app);
        assert.deepEqual(apps, ["notes", "greeter"]);
      });
    }

    it("shows a faulty graph as far as it goes, tells every fault, and ends with 1", async () => {
      const { code, stdout, stderr } = await ask("graph", "faulty");
      assert.equal(code, 1);
      assert.match(stdout, /✗ gone: missing/);
      assert.match(stdout, /a \(in a circle, ↑ above\)|b \(in a circle, ↑ above\)/);
      assert.match(stderr, /faulty: nothing provides "gone"/);
      assert.match(stderr, /faulty: cycle: "[ab]" \(module faulty, .*main\.test\.ts:\d+\)\n +needs "/);
      assert.doesNotMatch(stderr, /started/);
    });

    it("starts the app with --start, shows states and times, and stops it", async () => {
      const { code, stdout, stderr } = await ask("graph", "healthy", "--start");
      assert.equal(code, 0, stderr);
      assert.match(stdout, /^notes: ready\n/);
      assert.match(stdout, /^notes · module notes · started [\d.]+ ms$/m);
      assert.match(stderr, /notes started\n[^]*storage stopped\n/);
      assert.doesNotMatch(stderr, /never said/);
    });

    it("marks what failed to start, and ends with 1", async () => {
      const { code, stdout, stderr } = await ask("graph", "failing start", "--start");
      assert.equal(code, 1);
      assert.match(stdout, /^notes: failed\n/);
      assert.match(stdout, /^notes · module notes · .*main\.test\.ts:\d+ · ✗ failed: start: .*no such bucket/m);
      assert.match(stderr, /notes did not start: .*no such bucket/);
      assert.match(stderr, /storage stopped\n/);
    });

    it("shows a graph of a thousand providers whole", async () => {
      const { code, stdout } = await ask("graph", "large", "--format", "json");
      assert.equal(code, 0);
      const parts = JSON.parse(stdout).nodes.filter(({ module }: { module: string }) => module === "large");
      assert.equal(parts.length, 1_000);
    });

    it("ends in order when its reader has seen enough", async () => {
      const child = start(["graph", thisFile], { PROGRAM: "large" });
      child.stdout?.destroy();
      const [errors, [code]] = await Promise.all([text(child.stderr!), once(child, "exit")]);
      assert.deepEqual([errors, code], ["", 0]);
    });
  });

  describe("plinth and a main that does not answer", { concurrency: 2 }, () => {
    it("says that there is no such file, and that a folder is none", async () => {
      const absent = await plinth(["graph", "nowhere/main.ts"]);
      assert.deepEqual(absent, { code: 1, stdout: "", stderr: "plinth: there is no file nowhere/main.ts\n" });
      const folder = await plinth(["graph", "."]);
      assert.equal(folder.code, 1);
      assert.match(folder.stderr, /^plinth: \. is no file/);
    });

    it("shows the error of one that throws while it is loaded", async () => {
      const { code, stdout, stderr } = await ask("graph", "throws");
      assert.deepEqual([code, stdout], [1, ""]);
      assert.match(stderr, /Error: at import\n[^]*\nplinth: .* ended with exit code 1 before it called app\.run\(\)/);
    });

    it("asks whether it is the right one when it never runs an app", async () => {
      const { code, stderr } = await ask("graph", "silent");
      assert.equal(code, 1);
      assert.equal(
        stderr,
        `plinth: ${thisFile} ended without calling app.run() or runApps(); is it the file that does?\n`,
      );
    });

    it("kills one that does not end within its limit", async () => {
      const { code, stdout, stderr } = await ask("graph", "hangs", "--timeout", "1");
      assert.deepEqual([code, stdout], [1, ""]);
      assert.match(stderr, /plinth: .* did not answer within 1 s, and was killed; --timeout allows more\n$/);
    });

    it("has its answer from one that something holds open", async () => {
      const { code, stdout, stderr } = await ask("graph", "held open");
      assert.deepEqual([code, stderr], [0, ""]);
      assert.match(stdout, /^notes: created/);
    });

    it("ends with 1 when one answers and fails afterwards", async () => {
      const { code, stdout, stderr } = await ask("graph", "fails afterwards");
      assert.equal(code, 1);
      assert.match(stdout, /^notes: created/);
      assert.match(stderr, /Error: afterwards/);
    });

    it("takes a main in JavaScript just as well", async (t) => {
      const folder = await mkdtemp(join(tmpdir(), "plinth-cli-"));
      t.after(() => rm(folder, { recursive: true }));
      const kernel = JSON.stringify(pathToFileURL(join(import.meta.dirname, "../../../pkg/kernel/src/index.ts")));
      const source = `import { coreModule, createApp } from ${kernel};
process.exitCode = await createApp({ name: "plain", modules: [coreModule] }).run();\n`;
      await writeFile(join(folder, "main.mjs"), source);
      const { code, stdout, stderr } = await plinth(["graph", join(folder, "main.mjs")]);
      assert.equal(code, 0, stderr);
      assert.match(stdout, /^plain: created/);
    });
  });

  describe("plinth and signals", { concurrency: 2 }, () => {
    for (const [signal, expected] of [
      ["SIGINT", 130],
      ["SIGTERM", 143],
    ] as const) {
      it(`ends the main and itself at ${signal}`, async () => {
        const { code, stdout } = await signalAt(start(["graph", thisFile], { PROGRAM: "hangs" }), ["hanging", signal]);
        assert.deepEqual([code, stdout], [expected, ""]);
      });
    }

    it("takes a start back at a signal, and shows how far it came", async () => {
      const child = start(["graph", thisFile, "--start"], { PROGRAM: "waiting start" });
      const { code, stdout, stderr } = await signalAt(child, ["starting", "SIGINT"]);
      assert.equal(code, 130);
      assert.match(stdout, /^notes: stopped/);
      assert.match(stderr, /SIGINT arrived/);
      assert.match(stderr, /storage stopped/);
    });

    it("waits for a main that does not end at a signal, but not for ever", async () => {
      const child = start(["graph", thisFile], { PROGRAM: "stubborn" });
      const { code, stderr } = await signalAt(child, ["hanging", "SIGTERM"]);
      assert.deepEqual([code, stderr], [143, "hanging\nno\nstill here\n"]);
    });

    it("waits for nothing at a second signal", async () => {
      const child = start(["graph", thisFile], { PROGRAM: "stubborn" });
      const { code, stderr } = await signalAt(child, ["hanging", "SIGTERM"], ["no\n", "SIGTERM"]);
      assert.deepEqual([code, stderr], [143, "hanging\nno\n"]);
    });

    it("leaves no started app behind when it is killed itself", async () => {
      const child = start(["graph", thisFile, "--start"], { PROGRAM: "waiting start" });
      // the main holds standard error open until it has ended
      const { stderr } = await signalAt(child, ["starting", "SIGKILL"]);
      assert.match(stderr, /the command line has gone/);
      assert.match(stderr, /storage stopped/);
    });
  });
}
