// An app that does not come up, or is told to stop while it does: as whoever starts the process sees it.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { coreModule, createApp, defineModule, type HookContext, type Module, provider, token } from "@plinth/kernel";
import { registryModule } from "@plinth/registry";
import { httpModule } from "@plinth/transport";
import { type ConsulAgent, startConsul } from "../../scripts/servers/index.ts";
import { instancesIn } from "../support/consul.ts";
import { until } from "../support/until.ts";
import { limitMs, loggedBy, run, saidBy, say, start, withoutFolder } from "./program.ts";

interface Hooks {
  readonly create?: () => unknown;
  readonly start?: (context: HookContext) => unknown;
  readonly join?: (context: HookContext) => unknown;
  readonly stop?: () => unknown;
}

const cache = token("cache").of<string>();
const pool = token("pool").of<string>();
const store = token("store").of<string>();
const wait = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));
/** Keeps the process open, as a socket does. */
const hang = (): Promise<void> => wait(3_600_000);
const untilAborted = ({ signal }: HookContext): Promise<never> =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));

/** `notes` needs `store` needs `pool` needs `cache`; whatever is stopped says so. */
function chain(poolHooks: Hooks, cacheHooks: Hooks = {}): Module {
  return defineModule("chain", [
    provider({
      provides: cache,
      create: () => "cache",
      start: async (_, context) => void (await cacheHooks.start?.(context)),
      stop: async () => {
        await cacheHooks.stop?.();
        say("cache stopped");
      },
    }),
    provider({
      provides: pool,
      needs: { cache },
      create: () => {
        poolHooks.create?.();
        return "pool";
      },
      start: async (_, context) => void (await poolHooks.start?.(context)),
      ...(poolHooks.join ? { join: async (_, context) => void (await poolHooks.join?.(context)) } : {}),
      stop: () => say("pool stopped"),
    }),
    provider({ provides: store, needs: { pool }, create: () => (say("store created"), "store") }),
    provider({ provides: token("notes").of<string>(), needs: { store }, create: () => "notes", start: () => {} }),
  ]);
}

const boom = (): never => {
  throw new Error("no route to host");
};
const served = { http: { port: 0 }, registry: { check: "http" } };

/** Each with its modules and its settings. */
const programs: Readonly<Record<string, () => readonly [readonly Module[], Readonly<Record<string, unknown>>]>> = {
  "create fails": () => [[coreModule, chain({ create: boom })], {}],
  "start fails": () => [[coreModule, chain({ start: boom })], {}],
  // The start is over before the cache, which takes longer to stop than there is left of it, has stopped.
  "start hangs": () => [
    [coreModule, chain({ start: hang }, { start: () => wait(150), stop: () => wait(300) })],
    { lifecycle: { hookMs: 500, startMs: 700 } },
  ],
  "start is slow": () => [
    [coreModule, registryModule, httpModule, chain({ start: (context) => (say("starting"), untilAborted(context)) })],
    served,
  ],
  "join is slow": () => [
    [coreModule, registryModule, httpModule, chain({ join: (context) => (say("joining"), untilAborted(context)) })],
    served,
  ],
};

const program = programs[process.argv[2] ?? ""];
if (program) {
  const [modules, defaults] = program();
  const app = createApp({ name: "starter", modules, config: { defaults, arguments: [] } });
  process.exitCode = await app.run({ onReady: () => say("ready") });
} else tests();

function tests(): void {
  const place = String.raw`\(module chain, test/kernel/start\.test\.ts:\d+\)`;

  describe("a provider that throws", () => {
    for (const hook of ["create", "start"] as const) {
      it(`in its ${hook}: the chain is told once, with places; what was up is stopped in reverse; exit code 1`, async () => {
        const ended = await run(import.meta.filename, [`${hook} fails`]);
        assert.deepEqual([ended.code, ended.signal], [1, null]);
        assert.match(
          withoutFolder(ended.stderr),
          new RegExp(
            `^starter did not start: ${hook} of "pool" ${place}, needed by "store" ${place}, needed by "notes" ${place} failed: no route to host\n$`,
          ),
        );
        assert.deepEqual(
          saidBy(ended.stdout),
          hook === "start" ? ["pool stopped", "cache stopped"] : ["cache stopped"],
        );
        const errors = loggedBy(ended.stdout).filter(({ level }) => level === "error");
        assert.equal(errors.length, 1, "the log tells of it once too");
        assert.match(JSON.stringify(errors[0]?.["error"]), /start\.test\.ts/, "with the stack of what was thrown");
      });
    }
  });

  describe("a start hook that never settles", () => {
    it("is named with its limit and with what else took time; the rest is stopped with a budget of its own; exit code 1", async () => {
      const ended = await run(import.meta.filename, ["start hangs"]);
      assert.deepEqual([ended.code, ended.signal], [1, null]);
      assert.match(
        withoutFolder(ended.stderr),
        new RegExp(
          `^starter did not start: start of "pool" ${place}, needed by .* took longer than its limit of 500 ms and was abandoned; what else took time: .*"cache" \\d+ ms[^;]*\nstill open `,
        ),
      );
      assert.deepEqual(saidBy(ended.stdout), ["pool stopped", "cache stopped"]);
      assert.ok(ended.tookMs < 25_000, `${ended.tookMs} ms: more than limits and stop together`);
    });
  });

  describe("SIGTERM during the start", () => {
    let consul: ConsulAgent;
    before(async () => (consul = await startConsul()));
    after(() => consul?.stop());
    const registered = async (): Promise<number> =>
      (await instancesIn(consul.address)).filter(({ service }) => service === "starter").length;

    it("tells the hook that runs, takes all of it back, never registers, and exits with 0", async () => {
      await using starting = await start(import.meta.filename, ["start is slow"], {
        PLINTH_CONSUL_ADDR: consul.address,
      });
      await starting.untilPrinted("starting", limitMs);
      starting.signal("SIGTERM");
      assert.deepEqual(await starting.exit, { code: 0, signal: null });
      assert.match(starting.stderr(), /^starter did not start: start of "pool" .* was cancelled: SIGTERM arrived\n$/);
      assert.deepEqual(saidBy(starting.stdout()), ["starting", "pool stopped", "cache stopped"]);
      assert.equal(await registered(), 0);
    });

    it("leaves nothing in the registry when it comes after the registration", async () => {
      await using joining = await start(import.meta.filename, ["join is slow"], { PLINTH_CONSUL_ADDR: consul.address });
      await joining.untilPrinted("joining", limitMs);
      await until(async () => (await registered()) === 1, "it is registered", limitMs);
      joining.signal("SIGTERM");
      assert.deepEqual(await joining.exit, { code: 0, signal: null });
      assert.match(joining.stderr(), /^starter did not start: join of "pool" .* was cancelled: SIGTERM arrived\n$/);
      assert.deepEqual(saidBy(joining.stdout()), ["store created", "joining", "pool stopped", "cache stopped"]);
      assert.equal(await registered(), 0);
    });
  });
}
