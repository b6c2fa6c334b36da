import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { z } from "zod";
import { defineSettings } from "../config/settings.ts";
import { createApp } from "./create-app.ts";
import { defineModule, type Module } from "./module.ts";
import { provider } from "./provider.ts";
import { type AppTask, appTasks } from "./tasks.ts";
import { token } from "./token.ts";

const settings = defineSettings("store", z.strictObject({ size: z.int().default(1) }));
const strict = defineSettings("strict", z.strictObject({ needed: z.string() }));
const store = token("store").of<string>();
const server = token("server").of<string>();

/** An app whose task needs a store, and whose server needs a setting that is not given. */
function appOf(tasks: readonly AppTask[], environment: Record<string, string> = {}) {
  const calls: string[] = [];
  const log = (what: string) => () => void calls.push(what);
  const parts: Module = defineModule("parts", [
    provider({
      provides: store,
      needs: { settings },
      create: ({ settings: { size } }) => `store of ${size}`,
      start: log("store started"),
      stop: log("store stopped"),
    }),
    provider({ provides: server, needs: { strict, store }, create: () => "server", start: log("server started") }),
    ...tasks.map((task) =>
      provider({
        provides: appTasks,
        needs: { store },
        create: ({ store: value }): AppTask => {
          calls.push(`${task.subject} made with ${value}`);
          return task;
        },
      }),
    ),
  ]);
  const app = createApp({ name: "notes", modules: [parts], config: { environment } });
  return { app, calls };
}

function taskOf(subject: string, run: AppTask["run"] = async () => resultOf(subject)): AppTask {
  return { name: "tidy", subject, run };
}

const resultOf = (text: string) => ({ text, data: { text }, faults: [] });

describe("runTasks", () => {
  it("starts what the tasks need and nothing else, runs them in order, and stops it", async () => {
    const { app, calls } = appOf([taskOf("a"), taskOf("b"), { ...taskOf("c"), name: "other" }], {
      PLINTH_STORE_SIZE: "7",
    });
    const results = await app.runTasks({ name: "tidy" });
    assert.deepEqual(
      results.map(({ text }) => text),
      ["a", "b"],
    );
    assert.deepEqual(calls, [
      "store started",
      "a made with store of 7",
      "b made with store of 7",
      "c made with store of 7",
      "store stopped",
    ]);
    assert.equal(app.state, "created");
    assert.deepEqual(await app.runTasks({ name: "nothing" }), []);
  });

  it("gives a task its arguments and a signal", async () => {
    const controller = new AbortController();
    const run: AppTask["run"] = async (args, { signal }) => resultOf(`${args.steps} ${signal === controller.signal}`);
    const { app } = appOf([taskOf("a", run)]);
    const [result] = await app.runTasks({ name: "tidy", args: { steps: 2 }, signal: controller.signal });
    assert.equal(result?.text, "2 true");
  });

  it("runs the one of several that is meant, and refuses where that is not clear or not there", async () => {
    const { app, calls } = appOf([taskOf("a"), taskOf("b")]);
    const [only, ...more] = await app.runTasks({ name: "tidy", subject: "b", single: true });
    assert.deepEqual([only?.text, more], ["b", []]);
    await assert.rejects(app.runTasks({ name: "tidy", single: true }), {
      code: "ERR_APP_TASK",
      message: "there are several to tidy, a, b; name the one that is meant",
    });
    await assert.rejects(app.runTasks({ name: "tidy", subject: "c" }), {
      code: "ERR_APP_TASK",
      message: 'there is no "c" to tidy; there is a, b',
    });
    assert.equal(calls.filter((call) => call === "store stopped").length, 3);
  });

  it("stops what it has started when a task fails, and runs no other", async () => {
    const failing = taskOf("a", () => Promise.reject(new Error("no")));
    const { app, calls } = appOf([failing, taskOf("b", () => assert.fail("it ran"))]);
    await assert.rejects(app.runTasks({ name: "tidy" }), { message: "no" });
    assert.equal(calls.at(-1), "store stopped");
  });

  it("runs none once it is told to end", async () => {
    const controller = new AbortController();
    const first = taskOf("a", async () => {
      controller.abort(new Error("enough"));
      return resultOf("a");
    });
    const { app, calls } = appOf([first, taskOf("b", () => assert.fail("it ran"))]);
    await assert.rejects(app.runTasks({ name: "tidy", signal: controller.signal }), { message: "enough" });
    assert.equal(calls.at(-1), "store stopped");
  });

  it("reads the settings that are needed, and tells what is wrong with those", async () => {
    const { app } = appOf([taskOf("a")], { PLINTH_STORE_SIZE: "large" });
    await assert.rejects(app.runTasks({ name: "tidy" }), { message: /store\.size/ });
  });
});
