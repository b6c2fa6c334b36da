// The stop of an app whose hooks throw, hang, or take longer than there is time: as whoever sends the signals sees it.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  coreModule,
  createApp,
  current,
  defineModule,
  type Module,
  provider,
  requestScopes,
  type Token,
  token,
} from "@plinth/kernel";
import { httpModule, httpServer } from "@plinth/transport";
import { untilFree } from "../support/ports.ts";
import { limitMs, run, saidBy, say, start, withoutFolder } from "./program.ts";

const hang = (): Promise<void> => new Promise((resolve) => void setTimeout(resolve, 3_600_000));
const busy = (): never => {
  throw new Error("still busy");
};

/** `first` is needed by `second`, and so on; each says that it stops, then does what it is told. */
function chain(stops: Readonly<Record<string, () => void | Promise<void>>>): Module {
  const tokens = Object.keys(stops).map((name) => token(name).of<string>());
  const parts = Object.entries(stops).map(([name, stop], at) => {
    const below = tokens[at - 1];
    const own = tokens[at] ?? token(name).of<string>();
    return provider<Token<string>, Readonly<Record<string, Token<string>>>>({
      provides: own,
      needs: below ? { below } : {},
      create: () => name,
      start: () => {},
      stop: async () => {
        say(`${name} stops`);
        await stop();
      },
    });
  });
  return defineModule("chain", parts);
}

const thing = token("thing").perRequest<string>();
const worker = token("worker").of<{ readonly work: () => Promise<string> }>();
/** Work that still runs as a request of its own when the app is told to stop. */
const working = defineModule("working", [
  provider({ provides: thing, create: () => "thing", stop: () => say("thing stops") }),
  provider({
    provides: worker,
    needs: { scopes: requestScopes, thing: current(thing) },
    create: ({ scopes, thing: own }) => ({
      work: () => scopes.run(async () => (say(`working with ${await own()}`), await hang(), "done")),
    }),
    start: ({ work }) => void work().catch(() => {}),
    stop: () => say("worker stops"),
  }),
]);

interface ProgramParts {
  readonly modules: readonly Module[];
  readonly lifecycle?: Readonly<Record<string, number>>;
}

const programs: Readonly<Record<string, ProgramParts>> = {
  troubled: {
    modules: [chain({ database: () => {}, mail: hang, cache: busy, server: hang })],
    lifecycle: { hookMs: 300 },
  },
  "out of time": {
    modules: [chain({ database: () => {}, cache: () => {}, mail: hang, server: () => {} })],
    lifecycle: { stopMs: 500 },
  },
  "told twice": {
    modules: [
      chain({
        database: () => {},
        server: () => {
          setTimeout(() => say("a moment later"), 150);
          return hang();
        },
      }),
    ],
  },
  "at work": { modules: [working] },
};

const program = programs[process.argv[2] ?? ""];
if (program) {
  const { modules, lifecycle = {} } = program;
  const defaults = { lifecycle: { announceDelayMs: 0, ...lifecycle }, http: { port: 0 } };
  const app = createApp({
    name: "stopper",
    modules: [coreModule, httpModule, ...modules],
    config: { defaults, arguments: [] },
  });
  process.exitCode = await app.run({ onReady: () => say(`ready on ${app.get(httpServer).port}`) });
} else tests();

function tests(): void {
  describe("SIGTERM", () => {
    it("runs every stop hook though others throw and hang, tells of all of them, and exits with 1", async () => {
      await using stopping = await start(import.meta.filename, ["troubled"]);
      await stopping.untilPrinted("ready", limitMs);
      stopping.signal("SIGTERM");
      assert.deepEqual(await stopping.exit, { code: 1, signal: null });
      assert.deepEqual(saidBy(stopping.stdout()).slice(1), [
        "server stops",
        "cache stops",
        "mail stops",
        "database stops",
      ]);
      const [first = ""] = withoutFolder(stopping.stderr()).split("\n");
      assert.match(
        first,
        /^stopper did not stop in order: 3 hooks failed while stopping: stop of "server" \(.*test\/kernel\/stop\.test\.ts:\d+\) took longer than its limit of 300 ms and was abandoned; stop of "cache" .* failed: still busy; stop of "mail" .* was abandoned$/,
      );
    });

    it("ends a stop that has used up its time, names the hooks that did not run, and exits with 1", async () => {
      await using stopping = await start(import.meta.filename, ["out of time"]);
      await stopping.untilPrinted("ready", limitMs);
      stopping.signal("SIGTERM");
      assert.deepEqual(await stopping.exit, { code: 1, signal: null });
      assert.deepEqual(saidBy(stopping.stdout()).slice(1), ["server stops", "mail stops"]);
      const [first = ""] = withoutFolder(stopping.stderr()).split("\n");
      assert.match(first, /stop of "mail" .* did not end within 1000 ms of being cancelled and was abandoned; /);
      for (const name of ["cache", "database"]) {
        assert.match(first, new RegExp(`stop of "${name}" .* did not run: stop took longer than its limit of 500 ms`));
      }
    });

    it("closes the request scopes that are open, before what they stand on", async () => {
      await using stopping = await start(import.meta.filename, ["at work"]);
      await stopping.untilPrinted("ready", limitMs);
      stopping.signal("SIGTERM");
      assert.deepEqual((await stopping.exit).code, 0, stopping.stderr());
      assert.deepEqual(
        saidBy(stopping.stdout()).filter((line) => !line.startsWith("ready")),
        ["working with thing", "thing stops", "worker stops"],
      );
    });
  });

  describe("a second SIGINT", () => {
    it("ends the process at once with 130, whatever hangs, and its port is free", async () => {
      await using stopping = await start(import.meta.filename, ["told twice"]);
      await stopping.untilPrinted("ready on ", limitMs);
      const port = Number(/ready on (\d+)/.exec(stopping.stdout())?.[1]);
      stopping.signal("SIGINT");
      await stopping.untilPrinted("server stops", limitMs);
      // what comes within 100 ms is the same key press, forwarded by whoever started it
      await stopping.untilPrinted("a moment later", limitMs);
      stopping.signal("SIGINT");
      assert.deepEqual(await stopping.exit, { code: 130, signal: null });
      assert.doesNotMatch(stopping.stdout(), /database stops/);
      await untilFree([port], limitMs);
    });
  });

  describe("a program that cannot be run", () => {
    it("says so with exit code 2 where the command of a command line is not understood, and starts nothing", async () => {
      const ended = await run(import.meta.filename, ["at work"], { PLINTH_COMMAND: "dance" });
      assert.equal(ended.code, 2);
      assert.equal(ended.stdout, "");
    });
  });
}
