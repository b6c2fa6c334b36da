import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ConfigError } from "../config/errors.ts";
import type { ConfigEntry } from "../config/explain.ts";
import { commandVariable, joinTexts, toCommandAnswer } from "./command-protocol.ts";
import type { AppDescription } from "./description.ts";
import type { WrittenDocument } from "./documents.ts";
import { LifecycleError } from "./errors.ts";
import { type ProcessHost, type Runnable, runApps } from "./run.ts";

class FakeHost implements ProcessHost {
  readonly exits: number[] = [];
  readonly sent: unknown[] = [];
  readonly listeners = new Map<string, (...args: never[]) => void>();
  readonly pid = 7;
  readonly env: Record<string, string | undefined>;
  errors = "";
  output = "";
  readonly stderr = { write: (text: string) => void (this.errors += text) };
  readonly stdout = {
    write: (text: string, done: () => void) => {
      this.output += text;
      done();
    },
  };
  connected = true;

  constructor(command?: unknown) {
    this.env = command === undefined ? {} : { [commandVariable]: JSON.stringify(command) };
  }

  send(message: object, _handle: undefined, _options: undefined, done: (error: Error | null) => void): void {
    this.sent.push(message);
    done(null);
  }

  on(event: string, listener: (...args: never[]) => void): void {
    this.listeners.set(event, listener);
  }

  off(event: string): void {
    this.listeners.delete(event);
  }

  exit(code: number): void {
    this.exits.push(code);
  }
}

class FakeApp implements Runnable {
  readonly name: string;
  readonly failure = new Promise<never>(() => {});
  readonly calls: string[] = [];
  faults: string[] = [];
  state: AppDescription["state"] = "created";
  documents: readonly (WrittenDocument & { readonly name: string })[] = [];
  entries: () => Promise<readonly ConfigEntry[]> = async () => [entryOf("http.port", 8080)];
  onStart: (signal: AbortSignal) => Promise<void> | void = () => {};
  onStop: () => Promise<void> | void = () => {};

  constructor(name = "notes") {
    this.name = name;
  }

  async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    this.calls.push("start");
    this.state = "starting";
    try {
      await this.onStart(signal);
      this.state = "ready";
    } catch (error) {
      this.state = "failed";
      throw error;
    }
  }

  async stop(): Promise<void> {
    this.calls.push("stop");
    await this.onStop();
    if (this.state !== "failed") this.state = "stopped";
  }

  fail(): void {
    this.calls.push("fail");
  }

  describe(): AppDescription {
    return { app: this.name, state: this.state, nodes: [], faults: this.faults };
  }

  async writeDocuments(wanted: string): Promise<readonly WrittenDocument[]> {
    return this.documents.filter(({ name }) => name === wanted);
  }

  get config() {
    return { explain: () => this.entries(), jsonSchema: () => ({ title: this.name }) };
  }
}

const entryOf = (key: string, value: unknown, rest: Partial<ConfigEntry> = {}): ConfigEntry => ({
  key,
  value,
  source: "default",
  overridden: [],
  isSecret: false,
  isReloadable: false,
  ...rest,
});

/** An app in a process of its own: nothing is known of it here. */
const opaque = (name: string): Runnable => {
  const { failure, start, stop, fail } = new FakeApp(name);
  return { name, failure, start, stop, fail };
};
const notCalled = (): never => assert.fail("it was called");

describe("a main that is given a command", () => {
  it("tells its graph and runs nothing", async () => {
    const host = new FakeHost({ command: "graph" });
    const app = new FakeApp();
    assert.equal(await runApps([app], { host, onReady: notCalled }), 0);
    assert.equal(host.output, "notes: created\n\nno providers\n");
    assert.equal(host.errors, "");
    assert.deepEqual(app.calls, []);
    assert.deepEqual([...host.listeners.keys()], []);
  });

  it("tells every graph of several apps: text one after the other, JSON as an array", async () => {
    const apps = [new FakeApp("notes"), new FakeApp("greeter")];
    const tree = new FakeHost({ command: "graph", format: "tree" });
    assert.equal(await runApps(apps, { host: tree }), 0);
    assert.match(tree.output, /^notes: created\n[^]*\n\ngreeter: created\n/);
    const json = new FakeHost({ command: "graph", format: "json" });
    assert.equal(await runApps(apps, { host: json }), 0);
    assert.deepEqual(
      JSON.parse(json.output),
      apps.map((app) => app.describe()),
    );
    const one = new FakeHost({ command: "graph", format: "json" });
    await runApps(apps.slice(0, 1), { host: one });
    assert.deepEqual(JSON.parse(one.output), apps[0]?.describe());
  });

  it("tells the faults of a graph on standard error too, and ends with 1", async () => {
    const host = new FakeHost({ command: "graph", format: "dot" });
    const app = new FakeApp();
    app.faults = [`nothing provides "cache"`, `cycle: "a"`];
    assert.equal(await runApps([app], { host }), 1);
    assert.equal(host.errors, `notes: nothing provides "cache"\nnotes: cycle: "a"\n`);
    assert.match(host.output, /^digraph "notes"/);
  });

  it("says of an app in another process that it is not known, and fails when that is all of them", async () => {
    const host = new FakeHost({ command: "graph" });
    assert.equal(await runApps([opaque("worker"), new FakeApp()], { host }), 0);
    assert.match(host.output, /^notes: created/);
    assert.match(host.errors, /^worker: its graph is not known in this process; .*\n$/);
    const none = new FakeHost({ command: "config" });
    assert.equal(await runApps([opaque("worker")], { host: none }), 1);
    assert.match(none.errors, /^worker: its config is not known/);
    assert.equal(none.output, "");
  });

  it("starts the apps when told to, describes them when they are ready, and stops them", async () => {
    const host = new FakeHost({ command: "graph", start: true });
    const apps = [new FakeApp("notes"), new FakeApp("greeter")];
    assert.equal(await runApps(apps, { host, onReady: notCalled }), 0);
    assert.match(host.output, /^notes: ready\n[^]*greeter: ready\n/);
    assert.equal(host.errors, "");
    for (const { calls } of apps) assert.deepEqual(calls, ["start", "stop"]);
    assert.deepEqual([...host.listeners.keys()], []);
  });

  it("describes apps that failed to start, and ends with 1", async () => {
    const host = new FakeHost({ command: "graph", start: true });
    const [healthy, failing, later] = [new FakeApp("healthy"), new FakeApp("failing"), new FakeApp("later")];
    failing.onStart = () => Promise.reject(new Error("no such bucket"));
    assert.equal(await runApps([healthy, failing, later], { host }), 1);
    assert.match(host.output, /^healthy: stopped\n[^]*failing: failed\n[^]*later: created\n/);
    assert.equal(host.errors, "failing did not start: no such bucket\n");
    assert.deepEqual([healthy.calls, failing.calls, later.calls], [["start", "stop"], ["start", "stop"], []]);
  });

  it("ends with 1 when the stop after a start fails, and still describes what was ready", async () => {
    const host = new FakeHost({ command: "graph", start: true });
    const app = new FakeApp();
    app.onStop = () => Promise.reject(new Error("still busy"));
    assert.equal(await runApps([app], { host }), 1);
    assert.match(host.output, /^notes: ready/);
    assert.equal(host.errors, "notes did not stop in order: still busy\n");
  });

  it("takes a start back when the command line goes away, and says that nobody takes the answer", async () => {
    const host = new FakeHost({ command: "graph", start: true, answer: "ipc" });
    const app = new FakeApp();
    app.onStart = (signal) =>
      new Promise((_, reject) => {
        signal.addEventListener("abort", () =>
          reject(new LifecycleError("ERR_LIFECYCLE_START", "cancelled", String(signal.reason))),
        );
        host.connected = false;
        host.listeners.get("disconnect")?.();
      });
    assert.equal(await runApps([app], { host }), 1);
    assert.match(host.errors, /did not start: Error: the command line has gone\nthe answer cannot be delivered: /);
    assert.deepEqual([app.calls, host.sent, host.output], [["start", "stop"], [], ""]);
  });

  it("explains its config as a table, as JSON, and as a schema", async () => {
    const app = new FakeApp();
    const outputOf = async (format?: string): Promise<string> => {
      const host = new FakeHost({ command: "config", format });
      assert.equal(await runApps([app], { host }), 0);
      return host.output;
    };
    assert.match(await outputOf(), /^key +value +source\nhttp\.port +8080 +default\n$/);
    assert.deepEqual(JSON.parse(await outputOf("json")), { app: "notes", entries: await app.entries() });
    assert.deepEqual(JSON.parse(await outputOf("schema")), { title: "notes" });
    assert.deepEqual(app.calls, []);
  });

  it("names the app above each table when there are several", async () => {
    const host = new FakeHost({ command: "config" });
    await runApps([new FakeApp("notes"), new FakeApp("greeter")], { host });
    assert.match(host.output, /^notes:\nkey [^]*\n\ngreeter:\nkey /);
  });

  it("masks a secret in JSON, even one that comes to it unmasked", async () => {
    const host = new FakeHost({ command: "config", format: "json" });
    const app = new FakeApp();
    app.entries = async () => [
      entryOf("db.password", "hunter2", { isSecret: true }),
      entryOf("db.key", undefined, { isSecret: true }),
    ];
    await runApps([app], { host });
    const { entries } = JSON.parse(host.output);
    assert.deepEqual([entries[0].value, entries[1].value], ["***", undefined]);
  });

  it("tells the config of the others, and every fault on standard error, when one has faults", async () => {
    const host = new FakeHost({ command: "config" });
    const faulty = new FakeApp("faulty");
    const fault = { key: "http.port", problem: "expected number", source: "PLINTH_HTTP_PORT" };
    faulty.entries = () => Promise.reject(new ConfigError("ERR_CONFIG_INVALID", [fault]));
    assert.equal(await runApps([faulty, new FakeApp()], { host }), 1);
    assert.match(
      host.errors,
      /^faulty: 1 fault in the config:\n {2}http\.port: expected number \(PLINTH_HTTP_PORT\)\n$/,
    );
    assert.match(host.output, /^notes:\nkey /);
  });

  it("sends its answer to whoever started it when told to, and prints nothing", async () => {
    const host = new FakeHost({ command: "graph", answer: "ipc" });
    assert.equal(await runApps([new FakeApp()], { host }), 0);
    assert.equal(host.output, "");
    const [answer] = host.sent.map(toCommandAnswer);
    assert.deepEqual(answer, {
      type: "plinth.answer",
      texts: ["notes: created\n\nno providers\n"],
      exitCode: 0,
    });
  });

  it("answers each time it is to run apps, and runs them in none", async () => {
    const host = new FakeHost({ command: "graph" });
    const apps = [new FakeApp("notes"), new FakeApp("greeter")];
    const codes = await Promise.all(apps.map((app) => runApps([app], { host })));
    assert.deepEqual(codes, [0, 0]);
    assert.deepEqual(
      apps.flatMap(({ calls }) => calls),
      [],
    );
    assert.match(host.output, /notes: created[^]*greeter: created/);
  });

  it("leaves its command to itself: a process that inherits the variable runs its apps", async () => {
    const host = new FakeHost({ command: "graph" });
    await runApps([new FakeApp()], { host });
    const child = new FakeHost();
    Object.assign(child, { env: { ...host.env }, pid: 8 });
    const app = new FakeApp();
    const ended = runApps([app], { host: child, onReady: () => child.listeners.get("SIGTERM")?.() });
    assert.equal(await ended, 0);
    assert.deepEqual(app.calls, ["start", "stop"]);
  });

  it("is cut off by nothing while it ends by itself, and exits with its code when something holds it open", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const host = new FakeHost({ command: "graph" });
    const app = new FakeApp();
    app.faults = ["a fault"];
    await runApps([app], { host });
    assert.deepEqual(host.exits, []);
    t.mock.timers.tick(1_000);
    assert.deepEqual(host.exits, [1]);
  });

  const strange: readonly (readonly [string, RegExp])[] = [
    ["graph", /PLINTH_COMMAND is no JSON/],
    ["null", /PLINTH_COMMAND is not understood/],
    ["[]", /PLINTH_COMMAND is not understood/],
    [`{"command":"grap"}`, /command/],
    [`{"command":"graph","format":"svg"}`, /format/],
    [`{"command":"graph","start":"yes"}`, /start/],
    [`{"command":"graph","colour":true}`, /colour/],
    [`{"command":"config","format":"dot"}`, /format/],
    [`{"command":"config","start":true}`, /start/],
    [`{"command":"graph","answer":"fd3"}`, /answer/],
    [`{"command":"graph","pid":"7"}`, /pid/],
  ];
  for (const [text, expected] of strange) {
    it(`refuses ${text}, runs nothing and ends with 2`, async () => {
      const host = new FakeHost();
      host.env[commandVariable] = text;
      const app = new FakeApp();
      assert.equal(await runApps([app], { host, onReady: notCalled }), 2);
      assert.match(host.errors, expected);
      assert.deepEqual([app.calls, host.output], [[], ""]);
    });
  }

  it("runs its apps when the variable is empty", async () => {
    const host = new FakeHost();
    host.env[commandVariable] = "";
    const app = new FakeApp();
    const code = await runApps([app], { host, onReady: () => host.listeners.get("SIGTERM")?.() });
    assert.deepEqual([code, app.calls], [0, ["start", "stop"]]);
  });
});

describe("a main that is asked for a document", () => {
  const documentOf = (text: string, faults: readonly string[] = [], warnings: readonly string[] = []) => ({
    name: "api",
    text,
    faults,
    warnings,
  });
  const asked = async (apps: readonly Runnable[], command: object = {}): Promise<readonly [number, FakeHost]> => {
    const host = new FakeHost({ command: "document", name: "api", ...command });
    return [await runApps(apps, { host, onReady: notCalled }), host];
  };
  const withDocuments = (name: string, ...documents: FakeApp["documents"]): FakeApp => {
    const app = new FakeApp(name);
    app.documents = documents;
    return app;
  };

  it("writes it and runs nothing; others without one say nothing", async () => {
    const apps = [new FakeApp("greeter"), withDocuments("notes", documentOf('{"a":1}\n'))];
    const [code, host] = await asked(apps);
    assert.deepEqual([code, host.output, host.errors], [0, '{"a":1}\n', ""]);
    assert.deepEqual(
      apps.map(({ calls }) => calls),
      [[], []],
    );
  });

  it("writes several as an array, and that of one app where it is named", async () => {
    const apps = [withDocuments("a", documentOf("1\n")), withDocuments("b", documentOf("2\n"), documentOf("3\n"))];
    const [, all] = await asked(apps);
    assert.deepEqual(JSON.parse(all.output), [1, 2, 3]);
    const [, one] = await asked(apps, { app: "a" });
    assert.equal(one.output, "1\n");
    const [code, none] = await asked(apps, { app: "c" });
    assert.deepEqual([code, none.output, none.errors], [1, "", 'there is no app "c"; there is a, b\n']);
  });

  it("tells faults and warnings on standard error, and ends with 1 for a fault alone", async () => {
    const [warned, host] = await asked([withDocuments("notes", documentOf("1\n", [], ["is vague"]))]);
    assert.deepEqual([warned, host.output, host.errors], [0, "1\n", "notes: warning: is vague\n"]);
    const [faulty, other] = await asked([withDocuments("notes", documentOf("1\n", ["is there twice"]))]);
    assert.deepEqual([faulty, other.output, other.errors], [1, "1\n", "notes: is there twice\n"]);
  });

  it("ends with 1 where there is none, where writing fails, and where the app is not known here", async () => {
    const [code, none] = await asked([new FakeApp("notes"), new FakeApp("greeter")]);
    assert.deepEqual([code, none.errors], [1, 'no module of notes, greeter writes a document "api"\n']);
    const failing = new FakeApp();
    failing.writeDocuments = () => Promise.reject(new Error("no such file"));
    const [failed, told] = await asked([failing]);
    assert.deepEqual([failed, told.errors], [1, "notes: no such file\n"]);
    const [unknown, other] = await asked([opaque("far")]);
    assert.deepEqual(
      [unknown, other.errors.split("\n")[0]],
      [1, "far: its api is not known in this process; ask the main that creates the app"],
    );
  });
});

describe("a main that is asked to do something", () => {
  const asked = async (apps: readonly Runnable[], command: object = {}): Promise<readonly [number, FakeHost]> => {
    const host = new FakeHost({ command: "task", name: "tidy", ...command });
    return [await runApps(apps, { host, onReady: notCalled }), host];
  };
  const withTask = (name: string, runTasks: NonNullable<Runnable["runTasks"]>): Runnable =>
    Object.assign(new FakeApp(name), { runTasks });
  const done = (text: string, faults: readonly string[] = []) => [{ text, data: { what: text }, faults }];

  it("does it for each app, and tells it as text or JSON", async () => {
    const apps = ["notes", "greeter"].map((name) => withTask(name, async ({ args }) => done(`${name} ${args?.n}\n`)));
    const [code, host] = await asked(apps, { args: { n: 1 } });
    assert.deepEqual([code, host.output, host.errors], [0, "notes 1\n\ngreeter 1\n", ""]);
    const [, json] = await asked(apps, { args: { n: 1 }, app: "greeter", format: "json" });
    assert.deepEqual(JSON.parse(json.output), { app: "greeter", what: "greeter 1\n" });
    assert.deepEqual([...json.listeners.keys()], []);
  });

  it("ends with 1 where it fails, finds faults, or there is nothing to do it for", async () => {
    const failing = withTask("notes", () => Promise.reject(new Error("no such table")));
    const [failed, told] = await asked([failing]);
    assert.deepEqual([failed, told.errors], [1, "notes: no such table\n"]);
    const [faulty, shown] = await asked([withTask("notes", async () => done("as it is\n", ["is odd"]))]);
    assert.deepEqual([faulty, shown.output, shown.errors], [1, "as it is\n", "notes: is odd\n"]);
    const [none, nothing] = await asked([withTask("notes", async () => [])]);
    assert.deepEqual([none, nothing.errors], [1, "notes has nothing to tidy\n"]);
  });

  it("asks which app is meant where only one may be", async () => {
    const apps = ["notes", "greeter"].map((name) => withTask(name, notCalled));
    const [code, host] = await asked(apps, { single: true });
    assert.deepEqual([code, host.errors], [1, "there are several apps, notes, greeter; name the one that is meant\n"]);
  });

  for (const event of ["SIGINT", "SIGTERM", "disconnect"]) {
    it(`ends in order at ${event}`, async () => {
      const host = new FakeHost({ command: "task", name: "tidy" });
      const app = withTask("notes", async ({ signal }) => {
        host.listeners.get(event)?.();
        signal?.throwIfAborted();
        return notCalled();
      });
      assert.equal(await runApps([app, withTask("later", notCalled)], { host }), 1);
      assert.match(host.errors, /^notes: (SIG|the command line has gone)/);
    });
  }
});

describe("joinTexts", () => {
  it("gives one JSON text as it is, none as nothing, and several as an array", () => {
    assert.equal(joinTexts({ format: "json" }, [`{"a":1}\n`]), `{"a":1}\n`);
    assert.equal(joinTexts({ format: "schema" }, []), "");
    assert.deepEqual(JSON.parse(joinTexts({ format: "schema" }, ["{}\n", "[1]\n"])), [{}, [1]]);
    assert.equal(joinTexts({ format: "text" }, ["a\n", "b\n"]), "a\n\nb\n");
  });
});

describe("toCommandAnswer", () => {
  it("knows an answer from whatever else a main sends", () => {
    const answer = { type: "plinth.answer", texts: ["x"], exitCode: 1 };
    assert.deepEqual(toCommandAnswer(answer), answer);
    const others = [
      undefined,
      null,
      "ready",
      { type: "ready" },
      { ...answer, exitCode: 999 },
      { ...answer, texts: "x" },
    ];
    for (const other of others) assert.equal(toCommandAnswer(other), undefined);
  });
});
