import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "../testing/fake-clock.ts";
import { createApp } from "./create-app.ts";
import type { AppDescription, NodeDescription } from "./description.ts";
import { defineModule } from "./module.ts";
import { current, optional } from "./needs.ts";
import { provider } from "./provider.ts";
import { sleep } from "../clock.ts";
import { token } from "./token.ts";

const pool = token("pool").of<string>();
const notes = token("notes").of<string>();
const cache = token("cache").of<string>();
const routes = token("routes").listOf<string>();
const user = token("user").perRequest<string>();
const config = { environment: {}, overrides: { lifecycle: { announceDelayMs: 0 } } };

/** Of the app's own providers there is nothing to say here. */
const ownOf = ({ nodes }: AppDescription): NodeDescription[] => nodes.filter(({ module }) => module !== "app");
const statesOf = (description: AppDescription): Record<string, string> =>
  Object.fromEntries(ownOf(description).map(({ id, state }) => [id, state]));

describe("the description of an app", () => {
  it("says before the start what it is made of, and what is never built", () => {
    const app = createApp({
      name: "app",
      modules: [
        defineModule("notes", [
          provider({
            provides: notes,
            needs: { pool, cache: optional(cache), routes, user: current(user) },
            create: () => "notes",
            start: () => {},
          }),
          provider({ provides: pool, private: true, create: () => "pool" }),
          provider({ provides: routes, create: () => "one" }),
          provider({ provides: routes, create: () => "two" }),
        ]),
        defineModule("users", [provider({ provides: user, create: () => "me" })]),
        defineModule("spare", [provider({ provides: token("spare").of<string>(), create: () => "" })]),
      ],
      config,
    });
    const description = app.describe();
    assert.deepEqual([description.app, description.state, description.faults], ["app", "created", []]);
    assert.deepEqual(statesOf(description), {
      pool: "waiting",
      routes: "waiting",
      "routes#2": "waiting",
      notes: "waiting",
      user: "waiting",
      spare: "unused",
    });
    const found = ownOf(description).find(({ id }) => id === "notes");
    assert.match(found?.place ?? "", /describe\.test\.ts:\d+$/);
    assert.deepEqual(
      { ...found, place: "" },
      {
        id: "notes",
        token: "notes",
        kind: "one",
        module: "notes",
        place: "",
        isGround: false,
        isPrivate: false,
        needs: [
          { token: "pool", kind: "one", ids: ["pool"], isMissing: false },
          { token: "cache", kind: "optional", ids: [], isMissing: false },
          { token: "routes", kind: "list", ids: ["routes", "routes#2"], isMissing: false },
          { token: "user", kind: "request", ids: ["user"], isMissing: false },
        ],
        state: "waiting",
        hooks: [],
      },
    );
    assert.deepEqual(
      ownOf(description).map(({ kind, isPrivate }) => [kind, isPrivate]),
      [
        ["one", true],
        ["list", false],
        ["list", false],
        ["one", false],
        ["request", false],
        ["one", false],
      ],
    );
  });

  it("follows a start and a stop, with the time that each hook took", async () => {
    const clock = new FakeClock();
    const app = createApp({
      name: "app",
      modules: [
        defineModule("m", [
          provider({
            provides: pool,
            create: () => sleep(clock, 5).then(() => "pool"),
            start: () => sleep(clock, 20),
            stop: () => sleep(clock, 10),
          }),
          provider({ provides: notes, needs: { pool }, create: () => "notes" }),
        ]),
      ],
      expose: [notes],
      clock,
      config,
    });
    const seen: string[] = [];
    const look = (): void => void seen.push(Object.values(statesOf(app.describe())).join(" "));
    const started = app.start();
    for (const ms of [0, 5, 20]) {
      await clock.advance(ms);
      look();
    }
    await started;
    const stopped = app.stop();
    await clock.advance(0);
    look();
    await clock.advance(10);
    await stopped;
    look();
    assert.deepEqual(seen, [
      "creating waiting",
      "starting waiting",
      "started started",
      "stopping started",
      "stopped stopped",
    ]);
    const [first] = ownOf(app.describe());
    assert.deepEqual(first?.hooks, [
      { hook: "create", tookMs: 5 },
      { hook: "start", tookMs: 20 },
      { hook: "stop", tookMs: 10 },
    ]);
  });

  it("marks what failed in a start, and nothing that was only cut short or taken back", async () => {
    const clock = new FakeClock();
    const slow = token("slow").of<string>();
    const app = createApp({
      name: "app",
      modules: [
        defineModule("m", [
          provider({ provides: cache, create: () => "cache", stop: () => {} }),
          provider({
            provides: pool,
            needs: { cache },
            create: () => "pool",
            start: () => Promise.reject(new Error("no database there")),
          }),
          provider({ provides: notes, needs: { pool }, create: () => "notes", start: () => {} }),
          provider({
            provides: slow,
            create: (_, { signal }) => sleep(clock, 1_000, { signal }).then(() => "slow"),
            start: () => {},
          }),
        ]),
      ],
      clock,
      config,
    });
    const failed = assert.rejects(app.start(), { code: "ERR_LIFECYCLE_START" });
    await clock.advance(0);
    await failed;
    const description = app.describe();
    assert.equal(description.state, "failed");
    assert.deepEqual(statesOf(description), { cache: "stopped", pool: "failed", notes: "waiting", slow: "stopped" });
    const hooks = ownOf(description).find(({ id }) => id === "pool")?.hooks;
    assert.match(hooks?.at(-1)?.error ?? "", /^start of "pool" .* failed: no database there$/);
  });

  it("is there for a graph with faults, with what is missing, also after the start has refused it", async () => {
    const module = defineModule("m", [
      provider({ provides: notes, needs: { pool, cache }, create: () => "notes", start: () => {} }),
      provider({ provides: cache, needs: { notes }, create: () => "cache" }),
    ]);
    // @ts-expect-error -- nobody provides "pool"
    const app = createApp({ name: "app", modules: [module], config });
    await assert.rejects(app.start(), { code: "ERR_GRAPH_INVALID" });
    const description = app.describe();
    assert.equal(description.faults.length, 2);
    assert.match(description.faults.join("\n"), /nothing provides "pool"[^]*cycle: "notes"/);
    const found = ownOf(description).find(({ id }) => id === "notes");
    assert.deepEqual(found?.needs, [
      { token: "pool", kind: "one", ids: [], isMissing: true },
      { token: "cache", kind: "one", ids: ["cache"], isMissing: false },
    ]);
    assert.equal(description.state, "failed");
  });

  it("is plain data that JSON keeps whole", async () => {
    const app = createApp({ name: "app", modules: [], config });
    await app.start();
    await app.stop();
    const description = app.describe();
    assert.deepEqual(JSON.parse(JSON.stringify(description)), description);
  });
});
