import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import cluster from "node:cluster";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { describe, it } from "node:test";
import { createApp } from "../app/create-app.ts";
import { runApps } from "../app/run.ts";
import { coreModule } from "../core-module.ts";
import { messageOf } from "../errors/app-error.ts";

const say = (words: string): void => void process.stdout.write(`${words}\n`);
const sayFailure = (error: unknown): number => {
  say(`refused: ${messageOf(error)}`);
  return 3;
};
const appOf = (name: string) =>
  createApp({
    name,
    modules: [coreModule],
    config: {
      environment: { PLINTH_LOG_LEVEL: "error" },
      arguments: [],
      defaults: { lifecycle: { announceDelayMs: 0 } },
    },
  });
const role = (): string => (cluster.isWorker ? "worker" : "primary");
const isFirst = (): boolean => process.env.PLINTH_WORKER?.includes('"worker":1,') === true;
/** The first worker tells the primary to stop once it is up. */
const stopPrimary = (): void => {
  if (isFirst()) process.kill(process.ppid, "SIGTERM");
};

/** Mains that the tests run as processes of their own: this file with a name as its argument. */
const programs: Readonly<Record<string, () => Promise<number>>> = {
  one: () =>
    appOf("notes").run({
      workers: 1,
      onReady: () => {
        say(`ready in the ${role()}`);
        process.kill(process.pid, "SIGTERM");
      },
    }),
  "several apps": () => {
    const apps = [appOf("notes"), appOf("mail")];
    const onReady = (): void => {
      say(`${apps.map(({ name, state }) => `${name} ${state}`).join(", ")} in a ${role()}`);
      stopPrimary();
    };
    return runApps(apps, { workers: { count: 2 }, onReady });
  },
  "no exit code": async () => {
    const code = await appOf("notes").run({
      workers: 2,
      onReady: () => {
        stopPrimary();
        return Promise.reject(new Error("not really"));
      },
    });
    return cluster.isWorker ? 0 : code;
  },
  twice: async () => {
    const first = appOf("notes").run({ workers: 2, onReady: stopPrimary });
    const second = appOf("mail").run({ workers: 2 }).catch(sayFailure);
    return Math.max(await first, (await second) - 3);
  },
  "one after the other": async () => {
    const code = await appOf("notes").run({ workers: 2, onReady: stopPrimary });
    return Math.max(code, (await appOf("mail").run({ workers: 2 }).catch(sayFailure)) - 3);
  },
  "in a worker of another cluster": async () => {
    if (cluster.isWorker) {
      const code = await appOf("notes").run({ workers: 2 }).catch(sayFailure);
      cluster.worker?.disconnect();
      return code;
    }
    const worker = cluster.fork();
    const [code]: unknown[] = await once(worker, "exit");
    return Number(code);
  },
  "a child that inherits the variable": async () => {
    if (process.env.CHILD) return appOf("notes").run({ workers: 2, onReady: stopPrimary });
    return appOf("parent").run({
      workers: 2,
      onReady: async () => {
        if (!isFirst()) return;
        const child = runProgram("a child that inherits the variable", { CHILD: "1" });
        await once(child, "close");
        say(`the child ended with ${child.exitCode}`);
        stopPrimary();
      },
    });
  },
  "wrong numbers": async () => {
    for (const workers of [
      0,
      -1,
      1.5,
      Number.NaN,
      1_025,
      { count: 2, maxFailedStarts: 0 },
      { count: 2, scrapeMs: 0 },
    ]) {
      await appOf("notes").run({ workers }).catch(sayFailure);
    }
    return 0;
  },
};

function runProgram(name: string, env: Readonly<Record<string, string>> = {}): ChildProcess {
  return spawn(process.execPath, [...process.execArgv, import.meta.filename, name], {
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

async function ended(name: string) {
  const child = runProgram(name);
  assert.ok(child.stdout && child.stderr);
  const closed = once(child, "close");
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  await closed;
  // what the primary logs of its workers is in JSON
  const said = stdout.split("\n").filter((line) => line !== "" && !line.startsWith("{"));
  return { code: child.exitCode, said, stderr };
}

const program = programs[process.argv[2] ?? ""];
if (program) process.exitCode = await program();
else tests();

function tests(): void {
  describe("a run with workers", () => {
    it("with one runs in the process itself", async () => {
      assert.deepEqual(await ended("one"), { code: 0, said: ["ready in the primary"], stderr: "" });
    });

    it("runs all apps in each worker, and calls onReady in them alone", async () => {
      const { code, said, stderr } = await ended("several apps");
      assert.deepEqual([code, stderr], [0, ""]);
      assert.ok(said.length >= 1 && said.every((line) => line === "notes ready, mail ready in a worker"), said.join());
    });

    it("takes the exit code from the run of a worker, whatever its main makes of it", async () => {
      const { code, stderr } = await ended("no exit code");
      assert.equal(code, 1);
      assert.match(stderr, /^workers of notes did not .*worker \d .*exit code 0: notes did not start: not really/m);
    });

    for (const name of ["twice", "one after the other"]) {
      it(`is refused when a main asks for it ${name}`, async () => {
        const { code, said } = await ended(name);
        assert.equal(code, 0);
        const refused =
          "refused: a main runs workers once; give all apps to one runApps, which runs them in each worker";
        assert.ok(said.length >= 1 && said.every((line) => line === refused), said.join("\n"));
      });
    }

    it("is refused in a worker of another program's cluster", async () => {
      assert.deepEqual(await ended("in a worker of another cluster"), {
        code: 3,
        said: [
          "refused: this process is a worker of another program's cluster already; let one of the two start workers",
        ],
        stderr: "",
      });
    });

    it("is none of a worker in a program that a worker starts", async () => {
      const { code, said, stderr } = await ended("a child that inherits the variable");
      assert.deepEqual([code, said, stderr], [0, ["the child ended with 0"], ""]);
    });

    it("is refused with numbers that are none, each by its name", async () => {
      const { said } = await ended("wrong numbers");
      assert.deepEqual(said, [
        ...["0", "-1", "1.5", "NaN", "1025"].map(
          (given) => `refused: workers must be a whole number from 1 to 1024, not ${given}`,
        ),
        `refused: workers.maxFailedStarts must be a whole number from 1 to ${Number.MAX_SAFE_INTEGER}, not 0`,
        "refused: workers.scrapeMs must be a number from 1 to 60000, not 0",
      ]);
    });
  });
}
