import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { sleep } from "../clock.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import type { App } from "./app.ts";
import { createApp } from "./create-app.ts";
import { defineModule } from "./module.ts";
import { type HookContext, type HookName, type Provider, provider } from "./provider.ts";
import { type AnyToken, token } from "./token.ts";

// Random graphs with random failures, hangs and cancellations. A seed that fails is named; put it alone into `seeds` to look at it.
const seeds = Array.from({ length: 200 }, (_, index) => index + 1);
const maxProviders = 60;
const hookMs = 100;

/** How a hook behaves. */
type Kind = "at once" | "slow" | "fails" | "fails slowly" | "hangs" | "obeys" | "late";

interface Subject {
  readonly name: string;
  readonly token: AnyToken;
  readonly needs: readonly Subject[];
  readonly ground: boolean;
  creates: number;
  values: number;
  isStarted: boolean;
  readonly begun: Map<HookName, number>;
  readonly ended: Map<HookName, number>;
  stops: number;
}

/** Numbers in [0, 1), the same for the same seed. */
function randomOf(seed: number): () => number {
  let state = seed * 0x9e3779b9;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

class World {
  readonly clock = new FakeClock();
  readonly random: () => number;
  readonly subjects: Subject[] = [];
  readonly faults: string[] = [];
  readonly troubleRatio: number;

  constructor(seed: number) {
    this.random = randomOf(seed);
    // many graphs start well, so that stopping is tried as much as failing to start
    this.troubleRatio = [0, 0, 0.02, 0.1][this.below(4)] ?? 0;
  }

  below(limit: number): number {
    return Math.floor(this.random() * limit);
  }

  build(): Provider[] {
    const count = 1 + this.below(maxProviders);
    const providers: Provider[] = [];
    for (let index = 0; index < count; index++) {
      const needs = this.subjects.filter(() => this.random() < 3 / count);
      const subject: Subject = {
        name: `p${index}`,
        token: token(`p${index}`).of<string>(),
        needs,
        // ground stands on ground only
        ground: index < count / 4 && needs.every(({ ground }) => ground) && this.random() < 0.5,
        creates: 0,
        values: 0,
        isStarted: false,
        begun: new Map(),
        ended: new Map(),
        stops: 0,
      };
      this.subjects.push(subject);
      providers.push(this.#providerOf(subject));
    }
    // the order of the declarations must not matter
    return providers
      .map((made) => ({ made, at: this.random() }))
      .toSorted((a, b) => a.at - b.at)
      .map(({ made }) => made);
  }

  #providerOf(subject: Subject): Provider {
    const createKind = this.#kind(["late"]);
    const hook = (name: HookName) => {
      const kind = this.#kind([]);
      return (_: unknown, context: HookContext) => this.#run(subject, name, kind, context);
    };
    const maybe = (name: HookName): object => (this.random() < 0.3 ? { [name]: hook(name) } : {});
    return provider<AnyToken, Readonly<Record<string, AnyToken>>>({
      provides: subject.token,
      needs: Object.fromEntries(subject.needs.map(({ name, token }) => [name, token])),
      ground: subject.ground,
      create: async (_, context) => {
        subject.creates++;
        for (const need of subject.needs)
          this.check(need.isStarted, `${subject.name} was created before ${need.name} was up`);
        await this.#behave(createKind, context);
        subject.values++;
        return subject.name;
      },
      start: hook("start"),
      stop: hook("stop"),
      ...maybe("join"),
      ...maybe("leave"),
      ...maybe("drain"),
    });
  }

  #kind(more: readonly Kind[]): Kind {
    const troubles: Kind[] = ["fails", "fails slowly", "hangs", "obeys", ...more];
    if (this.random() < this.troubleRatio) return troubles[this.below(troubles.length)] ?? "fails";
    return this.random() < 0.5 ? "slow" : "at once";
  }

  async #behave(kind: Kind, { signal }: HookContext): Promise<void> {
    if (kind === "slow" || kind === "fails slowly") await sleep(this.clock, this.below(60));
    if (kind === "fails" || kind === "fails slowly") throw new Error("random failure");
    if (kind === "hangs") await new Promise(() => {});
    if (kind === "obeys") await sleep(this.clock, 1e9, { signal });
    if (kind === "late") await sleep(this.clock, 5_000);
  }

  async #run(subject: Subject, name: HookName, kind: Kind, context: HookContext): Promise<void> {
    const nowMs = this.clock.monotonicMs();
    this.check(!subject.begun.has(name), `${name} of ${subject.name} ran twice`);
    subject.begun.set(name, nowMs);
    if (name === "stop") this.#checkStop(subject, nowMs);
    try {
      await this.#behave(kind, context);
      if (name === "start") subject.isStarted = true;
    } finally {
      subject.ended.set(name, this.clock.monotonicMs());
    }
  }

  #checkStop(subject: Subject, nowMs: number): void {
    subject.stops++;
    for (const other of this.subjects) {
      const isUser = other.needs.includes(subject) || (subject.ground && !other.ground);
      if (isUser && !isLate(other)) {
        this.check(
          this.isOver(other, "stop", nowMs),
          `${subject.name} was stopped before ${other.name}, which stands on it`,
        );
      }
      this.check(
        !other.begun.has("drain") || this.isOver(other, "drain", nowMs),
        `${subject.name} was stopped while ${other.name} drained`,
      );
    }
  }

  /** Whether a hook of something that was made in time has ended, or has been given up. */
  isOver(subject: Subject, name: HookName, nowMs: number): boolean {
    if (subject.values === 0) return true;
    const begunAtMs = subject.begun.get(name);
    return subject.ended.has(name) || (begunAtMs !== undefined && nowMs - begunAtMs >= hookMs);
  }

  check(holds: boolean, fault: string): void {
    if (!holds) this.faults.push(`${fault}, at ${this.clock.monotonicMs()} ms`);
  }

  /** Runs until `promise` settles; tells how long that took and how it ended. */
  async settled(promise: Promise<void>, limitMs: number, what: string): Promise<{ readonly error?: unknown }> {
    const startedAtMs = this.clock.monotonicMs();
    let end: { readonly error?: unknown } | undefined;
    void promise.then(
      () => (end = {}),
      (error: unknown) => (end = { error }),
    );
    const isOpen = (): boolean => end === undefined;
    for (let stepMs = 0; isOpen() && stepMs <= limitMs; stepMs += 10) await this.clock.advance(10);
    this.check(end !== undefined, `${what} took more than ${this.clock.monotonicMs() - startedAtMs} ms`);
    return end ?? {};
  }
}

/** Created after it had been given up: then nothing waits for it any more. */
function isLate({ begun, values }: Subject): boolean {
  return values > 0 && !begun.has("start") && !begun.has("stop");
}

async function live(seed: number, limits: { readonly startMs: number; readonly stopMs: number }): Promise<World> {
  const world = new World(seed);
  const overrides = { lifecycle: { hookMs, drainMs: hookMs, announceDelayMs: 10, ...limits } };
  const modules = [defineModule("world", world.build())];
  const app: App = createApp({ name: "world", clock: world.clock, modules, config: { environment: {}, overrides } });
  const controller = new AbortController();
  const endMs = world.below(400);
  const ending = ["cancel", "stop", "none", "none"][world.below(4)];
  if (ending === "cancel") world.clock.schedule(endMs, () => controller.abort(new Error("cancelled")));
  let stopped: Promise<void> | undefined;
  if (ending === "stop") world.clock.schedule(endMs, () => void (stopped = app.stop()).catch(() => {}));

  const started = app.start({ signal: controller.signal });
  const start = await world.settled(started, limits.startMs + limits.stopMs + 2 * hookMs, "the start");
  const end = await world.settled(stopped ?? app.stop(), limits.stopMs + hookMs, "the stop");
  world.check(app.state === ("error" in start ? "failed" : "stopped"), `it ended as ${app.state}`);
  const said = [start, end].map(({ error }) => (error instanceof Error ? error.message : "")).join("\n");
  await world.clock.advance(20_000); // for what comes late
  for (const { name, creates, values, stops } of world.subjects) {
    world.check(creates <= 1, `${name} was created ${creates} times`);
    const isNamed = said.includes(`stop of "${name}" `);
    const isStopped = stops === values || (stops === 0 && isNamed);
    world.check(isStopped, `${name} was created ${values} times and stopped ${stops} times`);
  }
  world.check(world.clock.pending === 0, `${world.clock.pending} timers are left`);
  return world;
}

describe("the lifecycle of random graphs", () => {
  const modes = {
    "with time enough: all that was created is stopped, once, users before what they need": {
      startMs: 3_600_000,
      stopMs: 3_600_000,
    },
    "with little time: start and stop end within their limits, and name what they left": { startMs: 150, stopMs: 50 },
  };
  for (const [name, limits] of Object.entries(modes)) {
    it(name, async () => {
      let failedStarts = 0;
      for (const seed of seeds) {
        const world = await live(seed, limits);
        assert.deepEqual(world.faults, [], `seed ${seed}`);
        if (world.subjects.some(({ isStarted }) => !isStarted)) failedStarts++;
      }
      // else the random numbers try too little of one kind
      assert.ok(failedStarts > seeds.length / 10 && failedStarts < seeds.length * 0.9, `${failedStarts} failed starts`);
    });
  }
});
