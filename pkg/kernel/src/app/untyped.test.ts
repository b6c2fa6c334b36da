// What the compiler refuses: code without types, casts, and imports in a circle bring it all the same.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createApp } from "./create-app.ts";
import { defineModule } from "./module.ts";
import { current, live, optional } from "./needs.ts";
import { type Provider, provider } from "./provider.ts";
import { token } from "./token.ts";

const a = token("a").of<string>();
const list = token("list").listOf<string>();
const request = token("request").perRequest<string>();

/** A function as code without types sees it. */
function untyped<R>(fn: (...args: never[]) => R): (...args: readonly unknown[]) => R {
  return (...args) => Reflect.apply(fn, undefined, args);
}
const make = untyped(provider) as (definition: object) => Provider;
const minimal = { provides: a, create: () => "a" };
const needing = (needs: unknown): Provider => make({ provides: a, needs, create: () => "a", start: () => {} });

/** The faults of an app that must not start, with lines of this file as `here:LINE`. */
async function faultsOf(options: object): Promise<string[]> {
  const app = untyped(createApp)({
    name: "app",
    config: { environment: {} },
    logDestination: { write: () => {} },
    ...options,
  });
  await assert.rejects(app.start(), { code: "ERR_GRAPH_INVALID" });
  return app.describe().faults.map((fault) => fault.replaceAll(/[^ (]*untyped\.test\.ts:\d+/g, "here:LINE"));
}

class NotesModule {
  readonly parts = [];
}
const hint = "is it misspelled, or imported in a circle?";

describe("a graph from code without types", () => {
  const needs: Readonly<Record<string, readonly [unknown, string]>> = {
    undefined: [undefined, `undefined and no token; ${hint}`],
    null: [null, `null and no token; ${hint}`],
    "a name": ["database", `the text "database" and no token; ${hint}`],
    "a class": [
      class Database {
        readonly url = "";
      },
      `the function Database and no token; ${hint}`,
    ],
    "some object": [{}, `some object and no token; ${hint}`],
    "the section of nothing": [untyped(live)(undefined), `some object and no token; ${hint}`],
    "optional of nothing": [untyped(optional)(undefined), "optional(…) of undefined; it takes a token made with of()"],
    "optional of what a request has": [
      untyped(optional)(request),
      'optional(…) of a token of another kind, "request"; it takes a token made with of()',
    ],
    "optional of a list": [
      untyped(optional)(list),
      'optional(…) of a token of another kind, "list"; it takes a token made with of()',
    ],
    "the current one of what lives as long as the app": [
      untyped(current)(a),
      'current(…) of a token of another kind, "a"; it takes a token made with perRequest()',
    ],
  };
  for (const [name, [need, fault]] of Object.entries(needs)) {
    it(`is refused with ${name} for a need, naming who needs it as what, and where`, async () => {
      assert.deepEqual(await faultsOf({ modules: [defineModule("m", [needing({ database: need })])] }), [
        `"a" (module m, here:LINE) needs "database", which is ${fault}`,
      ]);
    });
  }

  it("is refused with what is no module, provider or token, each named, beside all other faults", async () => {
    const module = untyped(defineModule)("m", [
      undefined,
      make({ create: () => "x" }),
      needing({ missing: token("missing").of() }),
    ]);
    assert.deepEqual(await faultsOf({ modules: [module, null, NotesModule], expose: [undefined], overrides: ["a"] }), [
      `module m holds undefined, which is neither a module nor a provider; ${hint}`,
      `a provider of module m (here:LINE) provides undefined, which is no token; ${hint}`,
      `the app's \`modules\` list holds null, which is neither a module nor a provider; ${hint}`,
      `the app's \`modules\` list holds the function NotesModule, which is neither a module nor a provider; ${hint}`,
      `the app's \`overrides\` list holds the text "a", which is neither a module nor a provider; ${hint}`,
      `the app's \`expose\` list holds undefined, which is no token; ${hint}`,
      'nothing provides "missing", needed by "a" (module m, here:LINE); add the module that provides it',
    ]);
  });

  it("is refused with a need of a name that would replace the prototype of all needs", async () => {
    const needs = { ["__proto__"]: request };
    assert.deepEqual(await faultsOf({ modules: [defineModule("m", [needing(needs)])] }), [
      '"a" (module m, here:LINE) needs "__proto__", which is no name for a need; take another',
    ]);
  });

  it("is refused with an override that needs what is none", async () => {
    const modules = [defineModule("m", [needing({})])];
    assert.deepEqual(await faultsOf({ modules, overrides: [needing({ db: undefined })] }), [
      `"a" (module overrides, here:LINE) needs "db", which is undefined and no token; ${hint}`,
    ]);
  });

  it("is refused with what only looks like a module or a provider", async () => {
    const looksLike = [
      { kind: "module", name: "m" },
      { kind: "module", name: "m", parts: "abc" },
      { kind: "provider" },
      { kind: "provider", definition: { provides: a, needs: {}, create: () => "a" } },
    ];
    const fault = `the app's \`modules\` list holds some object, which is neither a module nor a provider; ${hint}`;
    assert.deepEqual(
      await faultsOf({ modules: looksLike }),
      looksLike.map(() => fault),
    );
  });

  it("may give its needs as a list, and leave them null", async () => {
    let given: unknown;
    const app = untyped(createApp)({
      name: "app",
      config: { environment: {} },
      modules: [
        defineModule("m", [
          needing(null),
          make({ provides: token("b").of(), needs: [a], create: (needs: unknown) => (given = needs), start: () => {} }),
        ]),
      ],
    });
    await app.start();
    assert.deepEqual(given, { 0: "a" });
    await app.stop();
  });
});

describe("a provider from code without types", () => {
  for (const name of ["create", "start", "stop"]) {
    for (const value of ["text", 5, null, {}]) {
      it(`is refused at once with ${JSON.stringify(value)} for ${name}`, () => {
        const definition = { provides: a, create: () => "a", [name]: value };
        assert.throws(() => make(definition), {
          code: "ERR_OPTION_TYPE",
          message: `${name} of "a" must be a function, not ${value === null ? "null" : typeof value}`,
        });
      });
    }
  }

  const refused: readonly (readonly [name: string, definition: unknown, message: string])[] = [
    ["nothing", undefined, "definition of a provider must be an object, not undefined"],
    ["null", null, "definition of a provider must be an object, not null"],
    ["a class", NotesModule, "definition of a provider must be an object, not the function NotesModule"],
    ["a list", [a], "definition of a provider must be an object, not a list"],
    ["no field at all", {}, "create of a provider of undefined must be a function, not undefined"],
    ["a name for a token", { provides: "a" }, 'create of a provider of the text "a" must be a function, not undefined'],
    ["a misspelled hook", { ...minimal, strat: () => {} }, 'strat of "a" is not known; did you mean "start"?'],
    [
      "a hook of another library",
      { ...minimal, onStop: undefined },
      'onStop of "a" is not known; did you mean "stop"?',
    ],
    [
      "a key that is like no other",
      { ...minimal, destructor: () => {} },
      'destructor of "a" is not known; there are provides, needs, create, start, join, leave, drain, stop, limits, ground, private',
    ],
    [
      "a key of a provider of nothing",
      { crate: () => "a" },
      'crate of a provider of undefined is not known; did you mean "create"?',
    ],
    ["a number for its needs", { ...minimal, needs: 5 }, 'needs of "a" must be an object, not some number'],
    ["a token's name for its needs", { ...minimal, needs: "b" }, 'needs of "a" must be an object, not the text "b"'],
    [
      "a function for its needs",
      { ...minimal, needs: NotesModule },
      'needs of "a" must be an object, not the function NotesModule',
    ],
    ["a text for ground", { ...minimal, ground: "yes" }, 'ground of "a" must be true or false, not the text "yes"'],
    ["null for private", { ...minimal, private: null }, 'private of "a" must be true or false, not null'],
    ["a number for all limits", { ...minimal, limits: 5 }, 'limits of "a" must be an object, not some number'],
    [
      "a misspelled limit",
      { ...minimal, limits: { startms: 5 } },
      'limits.startms of "a" is not known; did you mean "startMs"?',
    ],
    [
      "a limit that is like no other",
      { ...minimal, limits: { seconds: 5 } },
      'limits.seconds of "a" is not known; there are createMs, startMs, joinMs, leaveMs, drainMs, stopMs',
    ],
    [
      "a text for a limit",
      { ...minimal, limits: { startMs: "5" } },
      'limits.startMs of "a" must be a number, not the text "5"',
    ],
    [
      "an object for a limit",
      { ...minimal, limits: { stopMs: {} } },
      'limits.stopMs of "a" must be a number, not some object',
    ],
  ];
  for (const [name, definition, message] of refused) {
    it(`is refused at once with ${name}, saying what is taken`, () => {
      assert.throws(() => untyped(provider)(definition), { name: "OptionError", code: "ERR_OPTION_TYPE", message });
    });
  }

  for (const limitMs of [0, -1, NaN]) {
    it(`is refused at once with a limit of ${limitMs}, which is out of range`, () => {
      const message = `limits.startMs of "a" must be a number from 1 to Infinity, not ${limitMs}`;
      const definition = { ...minimal, limits: { startMs: limitMs } };
      assert.throws(() => make(definition), { code: "ERR_OPTION_RANGE", message });
    });
  }

  it("may leave everything but token and create undefined, and needs and limits null", () => {
    make({ ...minimal, needs: undefined, start: undefined, limits: undefined, ground: undefined, private: undefined });
    make({ ...minimal, needs: null, limits: null });
  });
});

describe("a module from code without types", () => {
  const parts = "must be a list of modules and providers, not";
  const refused: readonly (readonly [name: string, given: readonly unknown[], message: string])[] = [
    ["no parts", ["m"], `parts of module "m" ${parts} undefined; ${hint}`],
    ["null for its parts", ["m", null], `parts of module "m" ${parts} null`],
    ["a provider for its parts", ["m", make(minimal)], `parts of module "m" ${parts} some object`],
    ["a text for its parts", ["m", "abc"], `parts of module "m" ${parts} the text "abc"`],
    ["no name", [[make(minimal)]], "name of a module must be a text, not a list"],
    ["nothing", [], "name of a module must be a text, not undefined"],
  ];
  for (const [name, given, message] of refused) {
    it(`is refused at once with ${name}, saying what is taken`, () => {
      assert.throws(() => untyped(defineModule)(...given), { name: "OptionError", code: "ERR_OPTION_TYPE", message });
    });
  }
});

describe("an app from code without types", () => {
  const options: Readonly<Record<string, readonly [unknown, RegExp]>> = {
    "no options": [undefined, /^options of createApp must be an object/],
    "no modules": [{ name: "app" }, /^modules must be a list of modules/],
    "one module alone": [{ name: "app", modules: defineModule("m", []) }, /^modules must be a list of modules/],
    "a token to expose": [{ name: "app", modules: [], expose: a }, /^expose must be a list of tokens/],
    "an override": [{ name: "app", modules: [], overrides: "x" }, /^overrides must be a list of providers/],
  };
  for (const [name, [given, message]] of Object.entries(options)) {
    it(`is refused at once with ${name}`, () => {
      assert.throws(() => untyped(createApp)(given), { code: "ERR_OPTION_TYPE", message });
    });
  }
});
