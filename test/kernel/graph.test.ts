// A graph with faults, and what one builds: as the terminal, the command line and a test of a service see it.
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import {
  coreModule,
  createApp,
  current,
  defineModule,
  errorReporters,
  type Module,
  provider,
  token,
} from "@plinth/kernel";
import { testApp } from "@plinth/kernel/testing";
import { asRecord } from "../support/json.ts";
import { run, saidBy, say, withoutFolder } from "./program.ts";

const a = token("a").of<string>();
const b = token("b").of<string>();
const c = token("c").of<string>();
const user = token("user").perRequest<{ readonly id: string }>();
const made = (name: string): string => (say(`${name} made`), name);

/** `a` needs `b` needs `c` needs `a`, and three things that nobody provides, one of them nearly so. */
function faultyModule(): Module {
  const [mail, clok, storage] = [token("mail").of(), token("app.clok").of(), token("storage").of()];
  return defineModule("faulty", [
    provider({ provides: a, needs: { b, mail }, create: () => made("a"), start: () => say("a started") }),
    provider({ provides: b, needs: { c, clok }, create: () => made("b") }),
    provider({ provides: c, needs: { a, storage }, create: () => made("c") }),
  ]);
}

/** The compiler refuses it; code without types does not. */
function leakyModule(): Module {
  const needs = { user };
  return defineModule("leaky", [
    provider({ provides: user, create: () => (made("user"), { id: "ada" }) }),
    // @ts-expect-error -- "user" lives for one request, its user for longer; ask for current(token) instead
    provider({ provides: a, needs, create: () => made("a"), start: () => {} }),
  ]);
}

const connection = token("connection").of<string>();

/** Two reporters that need one connection at the same moment, and something beside that is cut short when there is none. */
function sharedModule(connects: boolean): Module {
  const reporter = (name: string) =>
    provider({
      provides: errorReporters,
      needs: { connection },
      create: ({ connection: own }) => (say(`${name} has ${own}`), { name, report: () => {} }),
    });
  return defineModule("shared", [
    reporter("first"),
    reporter("second"),
    provider({
      provides: token("beside").of<string>(),
      create: (_, { signal }) =>
        connects ? "beside" : new Promise((_resolve, reject) => signal.addEventListener("abort", reject)),
      start: () => {},
    }),
    provider({
      provides: connection,
      create: async () => {
        say("connecting");
        await new Promise(setImmediate);
        if (!connects) throw new Error("refused");
        return "the connection";
      },
      stop: () => say("disconnected"),
    }),
  ]);
}

const programs: Readonly<Record<string, () => readonly Module[]>> = {
  faulty: () => [faultyModule()],
  leaky: () => [leakyModule()],
  shared: () => [coreModule, sharedModule(true)],
  "shared and refused": () => [coreModule, sharedModule(false)],
};

const program = programs[process.argv[2] ?? ""];
if (program) {
  // what the compiler would say of these graphs is not the point here
  const options: { name: string; modules: readonly Module[]; config: object } = {
    name: "graph",
    modules: program(),
    config: { arguments: [], defaults: { lifecycle: { announceDelayMs: 0 } } },
  };
  const app = createApp(options);
  process.exitCode = await app.run({ onReady: () => void process.kill(process.pid, "SIGTERM") });
} else tests();

function tests(): void {
  const main = join(import.meta.dirname, "../../cmd/plinth/src/main.ts");
  const file = "test/kernel/graph.test.ts";
  const plinth = (...args: readonly string[]) => run(main, args);

  describe("a graph with faults", () => {
    it("is refused before any factory runs: a cycle hop by hop and three missing ones in one report, exit code 1", async () => {
      const ended = await run(import.meta.filename, ["faulty"]);
      assert.equal(ended.code, 1);
      assert.deepEqual(saidBy(ended.stdout), [], "nothing was made");
      const place = String.raw`\(module faulty, ${file}:\d+\)`;
      const report = withoutFolder(ended.stderr);
      assert.match(report, /^graph did not start: 4 faults in the graph of providers:\n/);
      assert.match(report, new RegExp(`nothing provides "mail", needed by "a" ${place}; add the module`));
      assert.match(report, new RegExp(`nothing provides "app.clok", needed by "b" ${place}; did you mean "app.clock"`));
      assert.match(report, new RegExp(`nothing provides "storage", needed by "c" ${place}`));
      assert.match(
        report,
        new RegExp(`cycle: "a" ${place}\\n +needs "b" ${place}\\n +needs "c" ${place}\\n +needs "a" ${place}`),
      );
    });

    it("is refused where what lives longer needs what lives for one request, with the way out", async () => {
      const ended = await run(import.meta.filename, ["leaky"]);
      assert.equal(ended.code, 1);
      assert.deepEqual(saidBy(ended.stdout), []);
      assert.match(
        withoutFolder(ended.stderr),
        /"a" \(module leaky, .*:\d+\) lives as long as the app and needs "user", which lives for one request; need current\(token\) instead/,
      );
    });

    it("does not compile with a token of another type, nor with a scope leak", () => {
      const wanted = (value: number): number => value;
      // @ts-expect-error -- "b" is a string
      provider({ provides: a, needs: { b }, create: ({ b: text }) => `${wanted(text)}` });
      // @ts-expect-error -- create must return a string
      provider({ provides: a, create: () => 5 });
      provider({ provides: a, needs: { later: current(user) }, create: ({ later }) => typeof later });
    });

    it("is still drawn by the command line, as DOT and as JSON, with what is missing marked; exit code 1", async () => {
      const [dot, json] = await Promise.all([
        plinth("graph", join(import.meta.dirname, "graph.test.ts"), "--format", "dot", "--", "faulty"),
        plinth("graph", join(import.meta.dirname, "graph.test.ts"), "--format", "json", "--", "faulty"),
      ]);
      assert.deepEqual([dot.code, json.code], [1, 1]);
      assert.match(dot.stdout, /^digraph /);
      for (const name of ["mail", "app.clok", "storage"]) {
        assert.ok(dot.stdout.includes(`[label="${name}\\n✗ missing"`), dot.stdout);
      }
      const description = asRecord(JSON.parse(json.stdout));
      const [faults, nodes] = [description["faults"], description["nodes"]];
      assert.ok(Array.isArray(faults) && Array.isArray(nodes));
      assert.equal(faults.length, 4);
      const needs = nodes.map(asRecord).flatMap((node) => node["needs"]);
      const missing = needs.map(asRecord).filter(({ isMissing }) => isMissing === true);
      assert.deepEqual(new Set(missing.map((need) => need["token"])), new Set(["app.clok", "mail", "storage"]));
    });

    it("of an app whose start fails is drawn with the failed one marked, and no other", async () => {
      const args = ["--start", "--", "shared and refused"];
      const [json, dot] = await Promise.all([
        plinth("graph", import.meta.filename, "--format", "json", ...args),
        plinth("graph", import.meta.filename, "--format", "dot", ...args),
      ]);
      assert.deepEqual([json.code, dot.code], [1, 1]);
      const { nodes } = asRecord(JSON.parse(json.stdout));
      assert.ok(Array.isArray(nodes));
      const failed = nodes.map(asRecord).filter(({ state }) => state === "failed");
      assert.deepEqual(
        failed.map(({ id }) => id),
        ["connection"],
      );
      const marked = dot.stdout.split("\n").filter((line) => line.includes("✗ failed"));
      assert.equal(marked.length, 1, marked.join("\n"));
      assert.match(marked[0] ?? "", /connection/);
    });
  });

  describe("what two need at the same moment", () => {
    it("is made once, asynchronously, for both", async () => {
      const ended = await run(import.meta.filename, ["shared"]);
      assert.equal(ended.code, 0, ended.stderr);
      const said = ["connecting", "first has the connection", "second has the connection", "disconnected"];
      assert.deepEqual(saidBy(ended.stdout), said);
    });

    it("fails both with one error when it rejects, which is told once, and is tried once", async () => {
      const ended = await run(import.meta.filename, ["shared and refused"]);
      assert.equal(ended.code, 1);
      assert.deepEqual(saidBy(ended.stdout), ["connecting"]);
      assert.match(withoutFolder(ended.stderr), /^graph did not start: create of "connection" .* failed: refused\n$/);
    });
  });

  describe("an override in a test", () => {
    it("leaves the real factory uncalled, and stops only what was built", async () => {
      const stopped: string[] = [];
      const real = defineModule("real", [
        provider({ provides: b, create: () => assert.fail("only the real one needs it"), stop: () => assert.fail() }),
        provider({
          provides: a,
          needs: { b },
          create: () => assert.fail("it is overridden"),
          stop: () => assert.fail(),
        }),
        provider({
          provides: c,
          needs: { a },
          create: ({ a: own }) => own,
          start: () => {},
          stop: (value) => void stopped.push(`c of ${value}`),
        }),
      ]);
      const fake = provider({ provides: a, create: () => "fake", stop: (value) => void stopped.push(value) });
      const app = await testApp({ name: "app", modules: [real], overrides: [fake] });
      assert.equal(app.get(c), "fake");
      await app.stop();
      assert.deepEqual(stopped, ["c of fake", "fake"]);
    });
  });
}
