// Whatever documents, variables and arguments an app is given: a load ends with valid values or with a ConfigError.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { inspect } from "node:util";
import { z } from "zod";
import { ConfigError } from "./errors.ts";
import { renderExplanation } from "./explain.ts";
import { type ConfigDocument, parseConfig } from "./file.ts";
import { secretString } from "./secret.ts";
import { defineSettings } from "./settings.ts";
import type { ConfigSource } from "./source.ts";
import type { ConfigSources } from "./snapshot.ts";
import { type ConfigStore, createConfigStore } from "./store.ts";

const http = z.strictObject({
  port: z.int().min(0).default(80),
  host: z.string().default("a"),
  on: z.boolean().default(false),
  list: z.array(z.union([z.number(), z.string()])).default([]),
  map: z.record(z.string(), z.unknown()).default({}),
  tls: z.strictObject({ key: secretString("k").optional(), keys: z.array(secretString("k")).default([]) }).prefault({}),
});
const sections = [
  defineSettings("http", http, { reloadable: ["host", "map", "tls"] }),
  defineSettings("http-admin", http, { reloadable: "all" }),
];
const secret = "hunter2-hunter2";
const keys = [
  "http",
  "http-admin",
  "port",
  "host",
  "on",
  "list",
  "map",
  "tls",
  "key",
  "keys",
  "prot",
  "",
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "hasOwnProperty",
  "a.b",
  "0",
  "length",
  "$schema",
  "\u001B[2J",
  "\n",
  "ü",
  "k".repeat(2_000),
] as const;
const texts = [
  "",
  " ",
  "8080",
  "007",
  "-1",
  "1e999",
  "true",
  "false",
  "null",
  "~",
  "{}",
  "[]",
  "{",
  "[1,",
  '{"a":1,"a":2}',
  '{"__proto__":{"admin":1}}',
  "a,b",
  "file:",
  "file:/dev/zero",
  "file:/dev/null",
  "file:/",
  "file:///proc/self/environ/x",
  "\u0000",
  "\u001B[2J\n  forged: line",
  "\uFFFD",
  "\uD800",
  "\u202E",
  "&a",
  "*a",
  "!!binary aGk=",
  secret,
] as const;

/** The same sequence for the same seed: a failure tells its seed. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }

  pick<T>(list: readonly [T, ...T[]] | readonly T[]): T {
    const [first, ...rest] = list;
    assert.ok(first !== undefined);
    return [first, ...rest][this.below(list.length)] ?? first;
  }

  list<T>(max: number, make: () => T): T[] {
    return Array.from({ length: this.below(max + 1) }, make);
  }

  value(depth: number): unknown {
    const kinds: readonly (() => unknown)[] = [
      () => this.pick(texts),
      () => this.pick([0, -1, 1.5, NaN, Infinity, 2 ** 60]),
      () => this.below(2) === 0,
      () =>
        this.pick([
          null,
          10n,
          Symbol("s"),
          new Date(NaN),
          new URL("http://a"),
          /x/,
          () => secret,
          new Map(),
          Object.create({ inherited: 1 }),
        ]),
      () => this.list(3, () => this.value(depth - 1)),
      () => this.record(depth - 1),
      () => this.record(depth - 1),
    ];
    return this.pick(depth > 0 ? kinds : kinds.slice(0, 4))();
  }

  record(depth: number): Record<string, unknown> {
    const result: Record<string, unknown> = {};
    for (const key of this.list(4, () => this.pick(keys))) {
      // as an own key, as a parser would make it
      Object.defineProperty(result, key, {
        value: this.value(depth),
        enumerable: true,
        configurable: true,
        writable: true,
      });
    }
    return result;
  }

  /** Text that is YAML now and then. */
  text(): string {
    const parts = [
      ": ",
      ":",
      "\n",
      "\n  ",
      "\n    ",
      "- ",
      "{",
      "}",
      "[",
      "]",
      ",",
      "#",
      '"',
      "'",
      "|",
      ">",
      "? ",
      "---\n",
      "\t",
    ];
    if (this.below(2) === 0) return this.list(30, () => this.pick([...parts, ...keys, ...texts])).join("");
    return this.list(
      4,
      () => `${this.pick(keys)}:\n${this.list(4, () => `  ${this.pick(keys)}: ${this.pick(texts)}\n`).join("")}`,
    ).join("");
  }

  word(): string {
    const path = this.list(3, () => this.pick(keys)).join(".");
    return this.pick([
      `--${path}`,
      `--${path}=${this.pick(texts)}`,
      `--http.${this.pick(keys)}=${this.pick(texts)}`,
      `--http.${this.pick(keys)}`,
      this.pick(texts),
      "--profile=x",
    ]);
  }

  variable(): [string, string] {
    const words = this.list(3, () => this.pick([...keys, "HTTP", "PORT", "TLS", "KEY", "SERVICE", "TCP"]));
    return [`PLINTH_${words.join("_").toUpperCase()}`, this.pick(texts)];
  }

  sources(): ConfigSources {
    const text = this.text();
    const data = this.record(5);
    const remote: readonly ConfigSource[] = [
      { name: "text", load: async () => parseConfig(text, "text") },
      { name: "data", load: () => Promise.resolve<ConfigDocument>({ data, places: new Map() }) },
    ];
    return {
      environment: Object.fromEntries(this.list(4, () => this.variable())),
      ...(this.below(2) === 0 ? { defaults: this.record(4) } : {}),
      ...(this.below(2) === 0 ? { overrides: this.record(4) } : {}),
      ...(this.below(3) === 0 ? { sources: [this.pick(remote)] } : {}),
      ...(this.below(2) === 0 ? { arguments: this.list(4, () => this.word()) } : {}),
    };
  }
}

/** How often a load went well, of those that said so. */
const outcomes = { loaded: 0, refused: 0 };

async function check(run: () => Promise<ConfigStore>): Promise<ConfigStore | undefined> {
  const before = Reflect.ownKeys(Object.prototype);
  try {
    const store = await run();
    outcomes.loaded++;
    const shown = renderExplanation(store.explain()) + JSON.stringify(store.explain());
    assert.doesNotMatch(shown.replaceAll("\n", ""), /[\p{Cc}\p{Cf}]/u);
    return store;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    outcomes.refused++;
    assert.ok(error.faults.length > 0);
    assert.doesNotMatch(error.message.replaceAll("\n", ""), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
    assert.equal(error.message.split("\n").length, Math.min(error.faults.length, 101) + 1);
    return undefined;
  } finally {
    assert.deepEqual(Reflect.ownKeys(Object.prototype), before);
    assert.equal(Reflect.get({}, "admin"), undefined);
  }
}

describe("a load of random sources", () => {
  const rounds = 2_000;

  it(`ends ${rounds} times with valid values or a ConfigError, and changes no prototype`, async () => {
    for (let seed = 1; seed <= rounds; seed++) {
      try {
        await check(() => createConfigStore(sections, new Random(seed).sources()));
      } catch (error) {
        throw new Error(`seed ${seed}: ${inspect(error)}`, { cause: error });
      }
    }
    assert.ok(outcomes.refused > rounds / 4 && outcomes.loaded > rounds / 20, JSON.stringify(outcomes));
  });

  it("keeps the old values through every reload that is refused", async () => {
    const environment: Record<string, string> = {};
    let document: ConfigDocument = { data: {}, places: new Map() };
    const source: ConfigSource = { name: "remote", load: () => Promise.resolve(document) };
    const store = await createConfigStore(sections, { environment, sources: [source] });
    let swapped = 0;
    for (let seed = 1; seed <= 500; seed++) {
      const random = new Random(seed);
      document = { data: { [random.pick(["http", "http-admin"])]: random.record(3) }, places: new Map() };
      const old = store.current;
      const reloaded = await check(async () => {
        const { changed } = await store.reload();
        if (changed.length > 0) swapped++;
        assert.ok(
          changed.every((key) => !/^http\.(port|on|list)/.test(key)),
          changed.join(),
        );
        return store;
      });
      if (!reloaded) assert.equal(store.current, old, `seed ${seed}`);
    }
    assert.ok(swapped > 0);
  });

  it("never shows what stands in the place of a secret", async () => {
    for (let seed = 1; seed <= 500; seed++) {
      const random = new Random(seed);
      const bad: unknown = random.pick<unknown>([secret, [secret], { a: secret }, [[secret]], [{ key: secret }], 5]);
      const data = {
        http: {
          tls: random.pick<unknown>([{ key: bad }, { keys: bad }, { keys: [bad] }, bad, [bad]]),
          port: random.pick<unknown>([1, "x", null]),
        },
      };
      const shown = await createConfigStore(sections, { environment: {}, overrides: data }).then(
        (store) => inspect([store, store.current, store.explain()], { depth: 9, showHidden: true }),
        (thrown: unknown) => inspect(thrown, { depth: 9, showHidden: true }),
      );
      assert.ok(!shown.includes(secret), `seed ${seed}: ${shown}`);
    }
  });
});
