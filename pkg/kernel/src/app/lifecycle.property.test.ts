import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { sleep } from "../clock.ts";
import { AppError } from "../errors/app-error.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import type { App } from "./app.ts";
import { createApp } from "./create-app.ts";
import type { NodeState } from "./description.ts";
import { defineModule, type Module } from "./module.ts";
import { type AnyNeed, current, optional } from "./needs.ts";
import { type HookContext, type HookName, type Provider, provider } from "./provider.ts";
import { requestInput, type RequestScope, type ScopeOptions, scopeValue } from "./request-scope.ts";
import { type AnyToken, type ListToken, type RequestToken, token } from "./token.ts";
import { requestScopes } from "./tokens.ts";

// Random graphs with random requests, failures, hangs, cancellations and stops. A seed that fails is named; put it alone into
// `seeds` to look at it. Many small graphs, where all ways to combine two things come up, and a few large ones.
const seeds = Array.from({ length: 660 }, (_, index) => index + 1);
const maxProvidersOf = (seed: number): number => (seed % 55 === 0 ? 300 : seed % 5 === 0 ? 60 : 12);
const hookMs = 100;
const cancelGraceMs = 1_000;

/** How a hook behaves. */
type Kind = "at once" | "slow" | "fails" | "fails slowly" | "hangs" | "obeys" | "late";
type Hook = HookName | "create";

interface Run {
  readonly begunAtMs: number;
  endedAtMs?: number;
  failed?: boolean;
}

/** A value: which one a user got can be told. */
interface Made {
  readonly of: string;
}

interface Subject {
  readonly name: string;
  readonly at: number;
  readonly token: AnyToken;
  readonly module: number;
  readonly ground: boolean;
  readonly isPrivate: boolean;
  readonly isOverridden: boolean;
  /** What must be up before it is made, each under the name that it is needed by. */
  readonly needs: ReadonlyMap<string, { readonly need: AnyNeed; readonly subjects: readonly Subject[] }>;
  /** What it asks for in a request. */
  readonly later: readonly Subject[];
  readonly runs: Map<Hook, Run>;
  readonly hooks: ReadonlySet<HookName>;
  value: Made | undefined;
  /** What `current` has given it, by name. */
  readonly getters: Map<Subject, () => Promise<unknown>>;
}

/** Something made for one request. */
interface Item {
  readonly subject: Subject;
  readonly scope: Scope;
  readonly create: Run;
  value: Made | undefined;
  stop: Run | undefined;
}

interface Scope {
  readonly id: number;
  readonly items: Item[];
  closedAtMs: number | undefined;
}

const scopeOf = token("scope").perRequest<Scope>();

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
  readonly scopes: Scope[] = [];
  readonly faults: string[] = [];
  readonly troubleRatio: number;
  readonly moduleCount: number;
  /** Whether what is asked for in a request may itself need who asks: then the order is not the same for all. */
  readonly hasRoundabouts: boolean;
  /** Whether requests are given a value, or make it: what is given is made on another way. */
  readonly hasInput: boolean;
  /** Of the request that asks now, where it is not given. */
  asking: Scope | undefined;
  /** Hooks of the start that failed or overran, with the moment. */
  readonly failures: { readonly hook: string; readonly atMs: number }[] = [];
  /** Things of requests that outlived what they stand on. */
  readonly orphans: string[] = [];
  readonly #count: number;
  readonly #lists: { readonly token: ListToken<Made>; readonly closedAt: number; readonly members: Subject[] }[] = [];
  readonly #absent = token("absent").of<Made>();

  constructor(seed: number) {
    this.random = randomOf(seed);
    // many graphs start well, so that stopping is tried as much as failing to start
    this.troubleRatio = [0, 0, 0.02, 0.1][this.below(4)] ?? 0;
    this.#count = seed % 55 === 0 ? 300 : 1 + this.below(maxProvidersOf(seed));
    this.moduleCount = 1 + this.below(5);
    this.hasRoundabouts = this.random() < 0.3;
    this.hasInput = this.random() < 0.5;
  }

  get nowMs(): number {
    return this.clock.monotonicMs();
  }

  below(limit: number): number {
    return Math.floor(this.random() * limit);
  }

  chance(ratio: number): boolean {
    return this.random() < ratio;
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from[this.below(from.length)];
  }

  shuffled<T>(items: readonly T[]): T[] {
    return items
      .map((item) => ({ item, at: this.random() }))
      .toSorted((a, b) => a.at - b.at)
      .map(({ item }) => item);
  }

  build(): { readonly modules: Module[]; readonly overrides: Provider[] } {
    for (let list = 0; list < 3; list++) {
      const closedAt = 1 + this.below(this.#count);
      this.#lists.push({ token: token(`list${list}`).listOf<Made>(), closedAt, members: [] });
    }
    for (let at = 0; at < this.#count; at++) this.subjects.push(this.#describe(at));
    const requests = this.subjects.filter(isRequest);
    const parts = Array.from({ length: this.moduleCount }, (): Provider[] => []);
    const overrides: Provider[] = [];
    for (const subject of this.subjects) {
      if (!isRequest(subject) && !subject.ground && this.chance(0.2)) this.#askLater(subject, requests);
      const own = this.#providerOf(subject);
      parts[subject.module]?.push(subject.isOverridden ? this.#replaced(subject) : own);
      if (subject.isOverridden) overrides.push(own);
    }
    // the order of the declarations must not matter, but for lists
    const modules = parts.map((own, index) => ({ index, own: this.shuffled(own) }));
    const order = this.shuffled(modules);
    const places = new Map(order.flatMap(({ own }) => own).map((made, place) => [made.definition.provides, place]));
    const ranks = new Map(order.flatMap(({ own }) => own).map((made, place) => [this.#nameOf.get(made), place]));
    assert.ok(places.size > 0);
    for (const { members } of this.#lists) {
      members.sort((a, b) => (ranks.get(a.name) ?? 0) - (ranks.get(b.name) ?? 0));
    }
    const make = provider({ provides: scopeOf, create: () => this.asking ?? this.fault("nobody asks") });
    const input = defineModule("input", [this.hasInput ? requestInput(scopeOf) : make]);
    return { modules: [input, ...order.map(({ index, own }) => defineModule(`m${index}`, own))], overrides };
  }

  readonly #nameOf = new Map<Provider, string>();

  #describe(at: number): Subject {
    const name = `p${at}`;
    const module = this.below(this.moduleCount);
    const seen = this.subjects.filter((other) => !other.isPrivate || other.module === module);
    const list = this.chance(0.15) ? this.pick(this.#lists.filter(({ closedAt }) => at < closedAt)) : undefined;
    const isPerRequest = !list && this.chance(0.25);
    const found = seen.filter(
      (other) => other.token.kind !== "list" && (isPerRequest || !isRequest(other)) && this.random() < 3 / this.#count,
    );
    const ground =
      !list && !isPerRequest && at < this.#count / 4 && found.every((need) => need.ground) && this.chance(0.5);
    const needs = new Map(
      found.map((subject) => {
        const isOptional = subject.token.kind === "one" && this.chance(0.2);
        const need = isOptional ? optional(subject.token) : subject.token;
        return [subject.name, { need, subjects: [subject] }];
      }),
    );
    if (this.chance(0.1)) needs.set("absent", { need: optional(this.#absent), subjects: [] });
    const wanted = this.pick(this.#lists.filter(({ closedAt }) => at > closedAt));
    if (wanted && !ground && this.chance(0.2)) needs.set("list", { need: wanted.token, subjects: wanted.members });
    const isActive = this.chance(0.8) && !isPerRequest;
    const maybe = (hook: HookName, ratio: number): HookName[] => (!isPerRequest && this.chance(ratio) ? [hook] : []);
    const subject: Subject = {
      name,
      at,
      token: list?.token ?? (isPerRequest ? token(name).perRequest<Made>() : token(name).of<Made>()),
      module,
      ground,
      isPrivate: !list && this.chance(0.2),
      isOverridden: !list && this.chance(0.1),
      needs,
      later: [],
      runs: new Map(),
      hooks: new Set([
        ...(isActive ? maybe("start", 0.9) : []),
        ...(isActive ? maybe("join", 0.3) : []),
        ...maybe("leave", 0.3),
        ...maybe("drain", 0.3),
        ...(this.chance(0.9) ? (["stop"] as const) : []),
      ]),
      value: undefined,
      getters: new Map(),
    };
    list?.members.push(subject);
    return subject;
  }

  #askLater(subject: Subject, requests: readonly Subject[]): void {
    const asked = this.pick(
      requests.filter(
        (other) =>
          (this.hasRoundabouts || other.at < subject.at) && (!other.isPrivate || other.module === subject.module),
      ),
    );
    if (asked) (subject.later as Subject[]).push(asked);
  }

  #providerOf(subject: Subject): Provider {
    const made = isRequest(subject) ? this.#perRequest(subject) : this.#perApp(subject);
    this.#nameOf.set(made, subject.name);
    return made;
  }

  /** What an override takes the place of. */
  #replaced(subject: Subject): Provider {
    const made = provider<AnyToken, Readonly<Record<string, AnyNeed>>, boolean>({
      provides: subject.token,
      private: subject.isPrivate,
      create: () => this.fault(`${subject.name} was overridden, and the real one was created`),
    });
    this.#nameOf.set(made, subject.name);
    return made;
  }

  #needsOf({ needs, later }: Subject): Readonly<Record<string, AnyNeed>> {
    return Object.fromEntries([
      ...[...needs].map(([name, { need }]) => [name, need] as const),
      ...later.map((asked) => [`later ${asked.name}`, current(asked.token as RequestToken)] as const),
    ]);
  }

  #perApp(subject: Subject): Provider {
    const kind = this.#kind(["late"]);
    const hooks = [...subject.hooks].map((name) => {
      const own = this.#kind([]);
      const run = (value: unknown, context: HookContext): Promise<void> => {
        this.check(value === subject.value, `${name} of ${subject.name} got another value`);
        return this.#track(subject, name, own, context);
      };
      return [name, run] as const;
    });
    return provider<AnyToken, Readonly<Record<string, AnyNeed>>, boolean>({
      provides: subject.token,
      private: subject.isPrivate,
      needs: this.#needsOf(subject),
      ground: subject.ground,
      create: async (given: Readonly<Record<string, unknown>>, context: HookContext) => {
        this.#checkGiven(subject, given);
        for (const asked of subject.later) {
          subject.getters.set(asked, given[`later ${asked.name}`] as () => Promise<unknown>);
          if (!this.hasRoundabouts) this.#checkUp(subject, standsOn(asked));
        }
        await this.#track(subject, "create", kind, context);
        subject.value = { of: subject.name };
        return subject.value;
      },
      ...Object.fromEntries(hooks),
    });
  }

  #perRequest(subject: Subject): Provider {
    const kinds = Array.from({ length: 4 }, () => ({ create: this.#kind(["late"]), stop: this.#kind([]) }));
    const isSync = this.chance(0.4);
    const begin = (given: Readonly<Record<string, unknown>>): Item => {
      const scope = given["scope"] as Scope;
      this.check(scope.closedAtMs === undefined, `${subject.name} was created after the end of its request`);
      const before = scope.items.filter((other) => other.subject === subject && isKept(other));
      this.check(before.length === 0, `${subject.name} was created twice in one request`);
      for (const [name, { need, subjects }] of subject.needs) {
        if (need.kind !== "request") continue;
        const own = scope.items.findLast((item) => item.subject === subjects[0]);
        this.check(own?.value !== undefined && given[name] === own.value, `${subject.name} got another ${name}`);
      }
      this.#checkGiven(subject, given);
      const item: Item = { subject, scope, create: { begunAtMs: this.nowMs }, value: undefined, stop: undefined };
      scope.items.push(item);
      return item;
    };
    const end = (item: Item): Made => {
      item.create.endedAtMs = this.nowMs;
      return (item.value = { of: subject.name });
    };
    const kindOf = ({ id }: Scope): { readonly create: Kind; readonly stop: Kind } =>
      kinds[id % kinds.length] ?? { create: "at once", stop: "at once" };
    const create = (given: Readonly<Record<string, unknown>>, context: HookContext): Made | Promise<Made> => {
      const item = begin(given);
      const kind = kindOf(item.scope).create;
      if (!isSync) return this.#runAs(kind, context, item.create).then(() => end(item));
      if (kind !== "fails" && kind !== "fails slowly") return end(item);
      item.create.failed = true;
      throw new Error("random failure");
    };
    const stop = async (value: unknown, context: HookContext): Promise<void> => {
      const item = this.scopes.flatMap(({ items }) => items).find((each) => each.value === value);
      if (!item) return this.fault(`${subject.name} was stopped with another value`);
      this.check(item.stop === undefined, `${subject.name} was stopped twice in one request`);
      item.stop = { begunAtMs: this.nowMs };
      this.check(
        item.scope.closedAtMs !== undefined || this.#isGivenUp(item.create),
        `${subject.name} was stopped in an open request`,
      );
      for (const other of item.scope.items) {
        const isUser = [...other.subject.needs.values()].some(({ subjects }) => subjects.includes(subject));
        if (!isUser || this.#isGivenUp(other.create) || this.#isGivenUp(item.create)) continue;
        const isGone = !other.value || !other.subject.hooks.has("stop") || this.#isOver(other.stop);
        this.check(isGone, `${subject.name} of a request was stopped before ${other.subject.name}, which stands on it`);
      }
      await this.#runAs(kindOf(item.scope).stop, context, item.stop);
    };
    return provider<RequestToken<Made>, Readonly<Record<string, AnyNeed>>, boolean>({
      provides: subject.token as RequestToken<Made>,
      private: subject.isPrivate,
      needs: { ...this.#needsOf(subject), scope: scopeOf },
      create,
      ...(subject.hooks.has("stop") ? { stop } : {}),
    });
  }

  #kind(more: readonly Kind[]): Kind {
    const troubles: Kind[] = ["fails", "fails slowly", "hangs", "obeys", ...more];
    if (this.chance(this.troubleRatio)) return this.pick(troubles) ?? "fails";
    return this.chance(0.5) ? "slow" : "at once";
  }

  /** What is made for the app gets what was made for the app. */
  #checkGiven(subject: Subject, given: Readonly<Record<string, unknown>>): void {
    for (const [name, { need, subjects }] of subject.needs) {
      if (need.kind === "request") continue;
      this.#checkUp(subject, subjects);
      const values = subjects.map(({ value }) => value);
      const expected = need.kind === "list" ? values : values[0];
      assert.deepEqual(given[name], expected, `${subject.name} got another ${name}`);
      this.check(need.kind === "list" || given[name] === expected, `${subject.name} got another ${name}`);
    }
  }

  #checkUp(user: Subject, needed: Iterable<Subject>): void {
    for (const { name, value, hooks, runs } of needed) {
      const started = runs.get("start");
      const isUp = value && (!hooks.has("start") || (started?.endedAtMs !== undefined && !started.failed));
      this.check(isUp === true, `${user.name} was created before ${name} was up`);
      this.check(!runs.has("stop"), `${user.name} was created after ${name} was stopped`);
    }
  }

  async #track(subject: Subject, hook: Hook, kind: Kind, context: HookContext): Promise<void> {
    this.check(!subject.runs.has(hook), `${hook} of ${subject.name} ran twice`);
    const run: Run = { begunAtMs: this.nowMs };
    subject.runs.set(hook, run);
    if (hook === "stop") this.#checkStop(subject);
    const isUpward = hook === "create" || hook === "start" || hook === "join";
    const label = `${hook} of "${nameOf(subject)}"`;
    const limit = isUpward
      ? this.clock.schedule(hookMs, () => this.failures.push({ hook: label, atMs: this.nowMs }))
      : undefined;
    try {
      await this.#runAs(kind, context, run);
    } catch (error) {
      if (isUpward) this.failures.push({ hook: label, atMs: this.nowMs });
      throw error;
    } finally {
      limit?.cancel();
    }
  }

  async #runAs(kind: Kind, { signal }: HookContext, run: Run): Promise<void> {
    try {
      if (kind === "slow" || kind === "fails slowly") await sleep(this.clock, this.below(60));
      if (kind === "fails" || kind === "fails slowly") throw new Error("random failure");
      if (kind === "hangs") await new Promise(() => {});
      if (kind === "obeys") await sleep(this.clock, 1e9, { signal });
      if (kind === "late") await sleep(this.clock, 5_000);
    } catch (error) {
      run.failed = true;
      throw error;
    } finally {
      run.endedAtMs = this.nowMs;
    }
  }

  #checkStop(subject: Subject): void {
    const dependsOn = (other: Subject): boolean => {
      if ([...other.needs.values()].some(({ subjects }) => subjects.includes(subject))) return true;
      return !this.hasRoundabouts && other.later.some((asked) => standsOn(asked).has(subject));
    };
    for (const other of this.subjects) {
      if (isRequest(other) || other === subject) continue;
      const isUser = dependsOn(other) || (subject.ground && !other.ground && !this.#isGroundToo(other));
      // the time of all but the ground is up: what had no turn is named at the end
      const isSkipped = subject.ground && !other.ground && !other.runs.has("stop");
      if (isUser && !isSkipped && other.value && other.hooks.has("stop") && !isLate(other)) {
        this.check(
          this.#isOver(other.runs.get("stop")),
          `${subject.name} was stopped before ${other.name}, which stands on it`,
        );
      }
      const drain = other.runs.get("drain");
      this.check(!drain || this.#isOver(drain), `${subject.name} was stopped while ${other.name} drained`);
    }
    for (const item of this.scopes.flatMap(({ items }) => items)) {
      if (!standsOn(item.subject).has(subject) || this.#isGivenUp(item.create) || item.create.failed) continue;
      const isGone = item.value ? !item.subject.hooks.has("stop") || this.#isOver(item.stop) : false;
      if (!isGone) this.orphans.push(`${item.subject.name} of a request outlived ${subject.name}, at ${this.nowMs} ms`);
    }
  }

  /** What something of the ground needs is ground, whatever it says itself. */
  #isGroundToo(subject: Subject): boolean {
    return this.subjects.some(
      (other) => other.ground && [...other.needs.values()].some(({ subjects }) => subjects.includes(subject)),
    );
  }

  #isOver(run: Run | undefined): boolean {
    return run !== undefined && (run.endedAtMs !== undefined || this.nowMs - run.begunAtMs >= hookMs);
  }

  #isGivenUp({ begunAtMs, endedAtMs }: Run): boolean {
    return (endedAtMs ?? this.nowMs) - begunAtMs >= hookMs;
  }

  fault(what: string): never {
    this.check(false, what);
    throw new Error(what);
  }

  check(holds: boolean, fault: string): void {
    if (!holds) this.faults.push(`${fault}, at ${this.nowMs} ms`);
  }

  /** Runs until `promise` settles, looking at the app now and then; tells how it ended. */
  async settled(promise: Promise<void>, limitMs: () => number, what: string): Promise<{ readonly error?: unknown }> {
    const startedAtMs = this.nowMs;
    let end: { readonly error?: unknown } | undefined;
    void promise.then(
      () => (end = {}),
      (error: unknown) => (end = { error }),
    );
    const isOpen = (): boolean => end === undefined;
    for (let stepMs = 0; isOpen() && stepMs <= limitMs(); stepMs += 10) {
      await this.clock.advance(10);
      if (this.chance(this.#count > 60 ? 0.05 : 0.2)) this.look();
    }
    this.check(end !== undefined, `${what} took more than ${this.nowMs - startedAtMs} ms`);
    return end ?? {};
  }

  app: App | undefined;
  /** What the start needs, or else nothing is to be made of it. */
  needed = new Set<Subject>();

  /** Holds the app's description against what the hooks have seen. */
  look(): void {
    const description = this.app?.describe();
    if (!description) return;
    for (const node of description.nodes) {
      const subject = this.subjects.find((each) => nodeIdOf(each, description.nodes) === node.id);
      if (!subject || isRequest(subject)) continue;
      const states = this.#statesOf(subject, description.state === "failed" || description.state === "stopped");
      const isCutShort = node.hooks.some(({ error }) => error?.includes("did not run"));
      if (isCutShort) states.add("failed");
      this.check(states.has(node.state), `${node.id} is ${node.state}, and was seen ${[...states].join(" or ")}`);
      const seen = [...subject.runs].filter(([, run]) => run.endedAtMs !== undefined && !this.#isGivenUp(run));
      for (const [hook] of seen) {
        const told = node.hooks.filter((each) => each.hook === hook);
        this.check(told.length === 1, `${hook} of ${node.id} is told ${told.length} times`);
      }
      for (const [hook, run] of subject.runs) {
        // the walk has gone on without it
        if (run.endedAtMs !== undefined || this.nowMs - run.begunAtMs < hookMs) continue;
        const isTold = node.hooks.some((each) => each.hook === hook && each.error?.includes("abandoned"));
        this.check(isTold, `${hook} of ${node.id} overran, and was not given up`);
      }
      for (const { hook, error } of node.hooks) {
        const run = subject.runs.get(hook);
        const didNotRun = error?.includes("did not run") === true;
        this.check(run !== undefined || didNotRun, `${hook} of ${node.id} is told, and never ran`);
      }
    }
  }

  /** The states that fit what a thing's hooks have seen. */
  #statesOf(subject: Subject, isOver: boolean): Set<NodeState> {
    const { runs, hooks } = subject;
    if (!this.needed.has(subject)) return new Set(["unused"]);
    const states = new Set<NodeState>();
    const [created, started, stopped] = (["create", "start", "stop"] as const).map((hook) => runs.get(hook));
    const hasTrouble = [...runs.values()].some(
      (run) => run.failed || this.#isGivenUp(run) || (this.#wasCancelled && !run.endedAtMs),
    );
    if (hasTrouble) for (const state of ["failed", "stopped", "created"] as const) states.add(state);
    if (!created) states.add("waiting");
    else if (created.endedAtMs === undefined) states.add("creating");
    else if (stopped) states.add(stopped.endedAtMs === undefined ? "stopping" : "stopped");
    else if (started) states.add(started.endedAtMs === undefined ? "starting" : "started");
    else states.add(hooks.has("start") ? "created" : "started");
    if (isOver && created) {
      // what ended before its time tells of a stop that did not run
      if (stopped?.endedAtMs === undefined) states.add("failed");
      states.add("stopped");
    }
    if (stopped?.endedAtMs !== undefined && !hasTrouble) return new Set(["stopped"]);
    return states;
  }

  get #wasCancelled(): boolean {
    const state = this.app?.state;
    return state !== "starting" && state !== "ready";
  }

  /** Requests that come at random moments, also before the start and while the app stops. */
  sendRequests(app: App): void {
    const requests = this.subjects.filter(
      (subject) => isRequest(subject) && !subject.isPrivate && this.needed.has(subject),
    );
    const askers = this.subjects.filter(({ later }) => later.length > 0);
    if (requests.length === 0) return;
    const count = this.below(16);
    for (let id = 0; id < count; id++) {
      const scope: Scope = { id, items: [], closedAtMs: undefined };
      this.clock.schedule(this.below(500), () => void this.#request(app, scope, requests, askers));
    }
  }

  async #request(app: App, scope: Scope, requests: readonly Subject[], askers: readonly Subject[]): Promise<void> {
    const expected = new Set(["ERR_APP_TOKEN", "ERR_SCOPE_CLOSED", "ERR_LIFECYCLE_TIMEOUT", "ERR_LIFECYCLE_CANCELLED"]);
    const onError = (error: unknown): void => {
      const isExpected = AppError.is(error) ? expected.has(error.code) : String(error).includes("random failure");
      this.check(isExpected, `a request failed with ${String(error)}`);
    };
    const gone = new AbortController();
    let own: RequestScope;
    try {
      own = app.openScope({ ...this.#given(scope), signal: gone.signal });
    } catch (error) {
      return onError(error);
    }
    this.scopes.push(scope);
    const asked = Array.from({ length: 1 + this.below(3) }, () => this.pick(requests));
    const gets = asked.flatMap((subject) => {
      if (!subject) return [];
      this.asking = scope;
      const get = own.get(subject.token as RequestToken).then((value) => {
        const item = scope.items.findLast((each) => each.subject === subject);
        this.check(item?.value === value, `a request got another ${subject.name}`);
      });
      return [get.catch(onError)];
    });
    const asker = this.pick(askers);
    const closeAfterMs = this.below(200);
    if (this.chance(0.2)) this.clock.schedule(this.below(100), () => gone.abort(new Error("gone")));
    if (asker) await this.#askInside(app, scope, asker, onError);
    if (this.chance(0.7)) {
      await sleep(this.clock, closeAfterMs);
      scope.closedAtMs ??= this.nowMs;
      await own.close().catch((error: unknown) => {
        const isStopFailure = AppError.is(error) && error.code === "ERR_SCOPE_STOP";
        this.check(isStopFailure, `the end of a request failed with ${String(error)}`);
      });
    }
    await Promise.all(gets);
  }

  #given(scope: Scope): ScopeOptions {
    return this.hasInput ? { values: [scopeValue(scopeOf, scope)] } : {};
  }

  /** What has `current` of something gets that of the request it is asked in, the same each time. */
  async #askInside(app: App, { id }: Scope, asker: Subject, onError: (error: unknown) => void): Promise<void> {
    const [asked] = asker.later;
    const getter = asked && asker.getters.get(asked);
    if (!getter || app.state !== "ready") return;
    const scope: Scope = { id: id + 100, items: [], closedAtMs: undefined };
    this.scopes.push(scope);
    const work = async (): Promise<void> => {
      try {
        this.asking = scope;
        const [first, second] = await Promise.all([getter(), getter()]);
        this.check(first === second, `${asker.name} got two of ${asked.name} in one request`);
        const item = scope.items.findLast((each) => each.subject === asked);
        this.check(item?.value === first, `${asker.name} got another ${asked.name} than its request has`);
      } catch (error) {
        onError(error);
      } finally {
        scope.closedAtMs ??= this.nowMs;
      }
    };
    await app
      .get(requestScopes)
      .run(work, this.#given(scope))
      .catch((error: unknown) => {
        const isExpected = AppError.is(error) && (error.code === "ERR_SCOPE_STOP" || error.code === "ERR_SCOPE_CLOSED");
        this.check(isExpected, `a request failed with ${String(error)}`);
      });
  }
}

function isRequest({ token: { kind } }: Subject): boolean {
  return kind === "request";
}

function nameOf({ token: { name } }: Subject): string {
  return name;
}

/** Those of one list share a name; they are told apart by no more than a number, and are not looked at. */
function nodeIdOf(subject: Subject, nodes: readonly { readonly id: string }[]): string | undefined {
  return subject.token.kind === "list" || nodes.length === 0 ? undefined : subject.name;
}

/** What lives as long as the app, and something of a request stands on. */
function standsOn(request: Subject, found = new Set<Subject>()): Set<Subject> {
  for (const subject of [...request.needs.values()].flatMap(({ subjects }) => subjects)) {
    if (isRequest(subject)) standsOn(subject, found);
    else found.add(subject);
  }
  return found;
}

function neededOf(subjects: readonly Subject[], exposed: readonly AnyToken[]): Set<Subject> {
  const needed = new Set<Subject>();
  const add = (subject: Subject): void => {
    if (needed.has(subject)) return;
    needed.add(subject);
    for (const { subjects: inner } of subject.needs.values()) inner.forEach(add);
    subject.later.forEach(add);
  };
  for (const subject of subjects) {
    const isActive = !isRequest(subject) && (subject.hooks.has("start") || subject.hooks.has("join"));
    if (isActive || subject.ground || exposed.includes(subject.token)) add(subject);
  }
  return needed;
}

/** Created after it had been given up: then nothing waits for it any more. */
function isLate({ runs, value }: Subject): boolean {
  const created = runs.get("create");
  return value !== undefined && created?.endedAtMs !== undefined && created.endedAtMs - created.begunAtMs >= hookMs;
}

function isKept({ create, value, stop }: Item): boolean {
  return value !== undefined && stop === undefined && (create.endedAtMs ?? 0) - create.begunAtMs < hookMs;
}

async function live(seed: number, limits: { readonly startMs: number; readonly stopMs: number }): Promise<World> {
  const world = new World(seed);
  const { clock } = world;
  const lifecycle = { hookMs, drainMs: hookMs, announceDelayMs: 10, ...limits };
  const config = { environment: {}, overrides: { lifecycle } };
  const parts = world.build();
  const expose = world.subjects.filter((each) => isRequest(each) && !each.isPrivate && world.chance(0.7));
  const exposed = expose.map(({ token }) => token);
  const app: App = createApp({ name: "world", clock, config, expose: exposed, ...parts });
  world.app = app;
  world.needed = neededOf(world.subjects, exposed);
  app.events.subscribe((event) => {
    if (event.type !== "state" || event.state !== "stopping") return;
    // from here on the app closes what is open
    for (const scope of world.scopes) scope.closedAtMs ??= world.nowMs;
  });
  world.look();
  const controller = new AbortController();
  const endMs = world.below(400);
  const ending = world.pick(["cancel", "stop", "none", "none"] as const);
  if (ending === "cancel") clock.schedule(endMs, () => controller.abort(new Error("cancelled")));
  let stopped: Promise<void> | undefined;
  if (ending === "stop") clock.schedule(endMs, () => void (stopped = app.stop()).catch(() => {}));
  world.sendRequests(app);

  const started = app.start({ signal: controller.signal });
  const scopesMs = (): number => (world.scopes.length > 0 ? cancelGraceMs : 0);
  const startLimitMs = (): number => limits.startMs + limits.stopMs + 2 * hookMs + scopesMs();
  const start = await world.settled(started, startLimitMs, "the start");
  if (!("error" in start)) {
    for (const subject of world.subjects) {
      const isUp = subject.value !== undefined;
      const isExpected = world.needed.has(subject) || !isUp;
      world.check(isRequest(subject) || isExpected, `${subject.name} is ${isUp ? "" : "not "}up`);
      if (isUp || isRequest(subject)) continue;
      world.check(!world.needed.has(subject), `${subject.name} is needed, and not up`);
    }
    await clock.advance(world.below(300)); // requests are served
  } else if (ending === "none" && limits.startMs > 1_000) {
    const message = start.error instanceof Error ? start.error.message : "";
    const firstMs = Math.min(...world.failures.map(({ atMs }) => atMs));
    const first = world.failures.filter(({ atMs }) => atMs === firstMs).map(({ hook }) => hook);
    world.check(
      first.some((hook) => message.startsWith(hook)),
      `"${message}" does not begin with ${first.join(" or ")}`,
    );
  }
  const end = await world.settled(stopped ?? app.stop(), () => limits.stopMs + hookMs + scopesMs(), "the stop");
  const isFailed = "error" in start && !(AppError.is(start.error) && start.error.status === "cancelled");
  world.check(app.state === (isFailed ? "failed" : "stopped"), `it ended as ${app.state}`);
  const said = [start, end].map(({ error }) => (error instanceof Error ? error.message : "")).join("\n");
  const gaveUpScopes = /closing \d+ request scopes/.test(said);
  if (!gaveUpScopes) world.faults.push(...world.orphans);
  world.check(limits.stopMs < 1_000 || !gaveUpScopes, "it gave up request scopes, with time enough");
  world.look();
  await clock.advance(20_000); // for what comes late
  world.look();
  for (const subject of world.subjects.filter((each) => !isRequest(each))) {
    const { name, value, runs, hooks } = subject;
    const isNamed = said.includes(`stop of "${nameOf(subject)}" `);
    const isStopped = !value || !hooks.has("stop") ? !runs.has("stop") : runs.has("stop") || isNamed;
    world.check(isStopped, `${name} was ${value ? "" : "not "}created and ${runs.has("stop") ? "" : "not "}stopped`);
  }
  for (const { subject, value, stop } of world.scopes.flatMap(({ items }) => items)) {
    const isStopped = !value || !subject.hooks.has("stop") ? stop === undefined : stop !== undefined;
    world.check(
      isStopped,
      `${subject.name} of a request was ${value ? "" : "not "}created and ${stop ? "" : "not "}stopped`,
    );
  }
  assert.throws(() => app.openScope(), { code: "ERR_SCOPE_CLOSED" });
  world.check(clock.pending === 0, `${clock.pending} timers are left`);
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
    it(name, async (t) => {
      const counts = { failedStarts: 0, requests: 0, madeInRequests: 0, largest: 0 };
      for (const seed of seeds) {
        const world = await live(seed, limits);
        assert.deepEqual(world.faults, [], `seed ${seed}`);
        if (world.failures.length > 0) counts.failedStarts++;
        counts.requests += world.scopes.length;
        counts.madeInRequests += world.scopes.flatMap(({ items }) => items).length;
        counts.largest = Math.max(counts.largest, world.subjects.length);
      }
      t.diagnostic(JSON.stringify(counts));
      // else the random numbers try too little of one kind
      assert.ok(counts.failedStarts > seeds.length / 10 && counts.failedStarts < seeds.length * 0.9);
      assert.ok(counts.requests > seeds.length && counts.madeInRequests > seeds.length);
      assert.equal(counts.largest, 300);
    });
  }
});
