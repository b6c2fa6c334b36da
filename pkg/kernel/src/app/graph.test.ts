import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LifecycleError } from "./errors.ts";
import { analyzeGraph, type Graph, requireWhole } from "./graph.ts";
import { defineModule, type Module } from "./module.ts";
import { type AnyNeed, current } from "./needs.ts";
import { type Provider, provider } from "./provider.ts";
import { type AnyToken, token } from "./token.ts";

const a = token("a").of<string>();
const b = token("b").of<string>();
const c = token("c").of<string>();
const plugins = token("plugins").listOf<string>();

type Need = Readonly<Record<string, AnyNeed>>;
/** Providers of made-up graphs: their types are not the point here. */
const make = (provides: AnyToken, needs: Need = {}, more: object = {}): Provider =>
  provider<AnyToken, Need, boolean>({ provides, needs, create: () => provides.name, ...more });
const active = (provides: AnyToken, needs: Need = {}): Provider => make(provides, needs, { start: () => {} });
const ground = (provides: AnyToken, needs: Need = {}): Provider => make(provides, needs, { ground: true });
const moduleOf = (...parts: (Provider | Module)[]): Module => defineModule("test", parts);
const namesOf = ({ nodes }: Graph): string[] => nodes.map(({ definition }) => definition.provides.name);

const planGraph = (...args: Parameters<typeof analyzeGraph>): Graph => requireWhole(analyzeGraph(...args));

/** The faults of a graph that must be refused, with lines of this file as `here:LINE`. */
function faultsOf(...args: Parameters<typeof planGraph>): string[] {
  try {
    planGraph(...args);
  } catch (error) {
    assert.ok(error instanceof LifecycleError, String(error));
    assert.equal(error.code, "ERR_GRAPH_INVALID");
    const faults = error.message
      .replaceAll(import.meta.filename, "here")
      .split("\n  - ")
      .slice(1);
    assert.ok(error.message.startsWith(`${faults.length} fault${faults.length === 1 ? "" : "s"} in the graph`));
    return faults.map((fault) => fault.replaceAll(/here:\d+/g, "here:LINE"));
  }
  return assert.fail("it was taken");
}

describe("the order of a graph", () => {
  it("puts needs before users, whatever the order of the modules", () => {
    const parts = [active(c, { b }), active(b, { a }), active(a)];
    assert.deepEqual(namesOf(planGraph([moduleOf(...parts)], [])), ["a", "b", "c"]);
    assert.deepEqual(namesOf(planGraph([moduleOf(...parts.toReversed())], [])), ["a", "b", "c"]);
  });

  it("puts the ground, with all that it needs, before the rest", () => {
    const graph = planGraph([moduleOf(active(a), ground(c, { b }), make(b))], []);
    assert.deepEqual(namesOf(graph), ["b", "c", "a"]);
    assert.deepEqual(
      graph.nodes.map(({ ground }) => ground),
      [true, true, false],
    );
  });

  it("grounds what adds to a list that the ground needs", () => {
    const graph = planGraph([moduleOf(active(a), make(plugins, { b }), make(b), ground(c, { plugins }))], []);
    assert.deepEqual(namesOf(graph), ["b", "plugins", "c", "a"]);
  });

  it("gives a list in the order of the modules, and an empty one when nobody adds to it", () => {
    const first = make(plugins);
    const second = make(plugins);
    const modules = [defineModule("one", [first]), defineModule("two", [second, active(a, { plugins })])];
    const found = planGraph(modules, []).byToken.get(plugins) ?? [];
    assert.deepEqual(
      found.map(({ module }) => module),
      ["one", "two"],
    );
    assert.deepEqual(namesOf(planGraph([moduleOf(active(a, { plugins }))], [])), ["a"]);
  });

  it("gives each an id of its own, whatever the tokens are named", () => {
    const [twice, like] = [token("x").listOf<string>(), token("x#2").of<string>()];
    const all = [make(like), make(twice), make(twice)];
    const { nodes } = planGraph([moduleOf(...all)], [like, twice]);
    assert.deepEqual(new Set(nodes.map(({ id }) => id)), new Set(["x#2", "x", "x#3"]));
  });

  it("holds a provider once that two modules bring, and modules nested in modules", () => {
    const shared = defineModule("shared", [make(a)]);
    const left = defineModule("left", [shared, active(b, { a })]);
    const right = defineModule("right", [shared, active(c, { a })]);
    const graph = planGraph([left, right], []);
    assert.deepEqual(namesOf(graph), ["a", "b", "c"]);
    assert.deepEqual(
      graph.nodes.map(({ module }) => module),
      ["shared", "left", "right"],
    );
  });

  it("leaves out what nothing needs", () => {
    const graph = planGraph([moduleOf(make(a), active(b), make(c))], []);
    assert.deepEqual(namesOf(graph), ["b"]);
    assert.equal(graph.byToken.get(a), undefined);
  });

  it("includes what is exposed, and what that needs", () => {
    assert.deepEqual(namesOf(planGraph([moduleOf(make(b, { a }), make(a), make(c))], [b])), ["a", "b"]);
  });

  it("includes what joins, though it has no start", () => {
    assert.deepEqual(namesOf(planGraph([moduleOf(make(a, {}, { join: () => {} }))], [])), ["a"]);
  });

  it("leaves out what only has the hooks of the end", () => {
    const end = { leave: () => {}, drain: () => {}, stop: () => {} };
    assert.deepEqual(namesOf(planGraph([moduleOf(make(a, {}, end))], [])), []);
  });

  it("is planned for a chain of 5 000", () => {
    const tokens = Array.from({ length: 5_000 }, (_, index) => token(`t${index}`).of<string>());
    const parts = tokens.map((own, index) => {
      const need = tokens[index + 1];
      return need ? active(own, { need }) : active(own);
    });
    assert.equal(namesOf(planGraph([moduleOf(...parts)], [])).at(-1), "t0");
  });

  it("is planned for a chain of 12 000, and so is the cycle of it", () => {
    const tokens = Array.from({ length: 12_000 }, (_, at) => token(`t${at}`).of<string>());
    const [first = a] = tokens;
    const parts = tokens.map((own, at) => make(own, { below: tokens[at - 1] ?? b }));
    const whole = [make(b), ...parts].toReversed();
    const order = namesOf(planGraph([moduleOf(...whole)], [tokens.at(-1) ?? a]));
    assert.deepEqual([order.length, order[0], order.at(-1)], [12_001, "b", "t11999"]);
    const closed = [make(b, { last: tokens.at(-1) ?? a }), ...parts];
    const { faults } = analyzeGraph([moduleOf(...closed)], [first]);
    assert.equal(faults.length, 1);
    assert.equal(faults[0]?.split("needs").length, 12_002);
  });

  it("is planned when many ask at request time for what stands on many", (t) => {
    const reads = t.mock.method(Map.prototype, "get");
    const perRequest = token("request").perRequest<string>();
    const countOf = (count: number): number => {
      const tokens = Array.from({ length: count }, (_, at) => token(`t${at}`).of<string>());
      const below = tokens.map((own, at) => make(own, at > 0 ? { below: tokens[at - 1] ?? a } : {}));
      const users = tokens.map((_, at) => active(token(`u${at}`).of(), { later: current(perRequest) }));
      const needs = Object.fromEntries(tokens.map((own) => [own.name, own]));
      const before = reads.mock.callCount();
      planGraph([moduleOf(...below, make(perRequest, needs), ...users)], []);
      return reads.mock.callCount() - before;
    };
    // each of the users has each of the others to wait for: that is a square, and must not be a cube
    assert.ok(countOf(80) < countOf(40) * 6);
  });
});

describe("overrides", () => {
  it("take the place of a provider, and of what only that one needed", () => {
    const graph = planGraph([moduleOf(make(a, { b }), make(b), active(c, { a }))], [], [make(a)]);
    assert.deepEqual(namesOf(graph), ["a", "c"]);
    assert.equal(graph.nodes[0]?.module, "overrides");
  });

  it("take the place of all of a list, in the number that they have", () => {
    const modules = [moduleOf(make(plugins), make(plugins), make(plugins), active(a, { plugins }))];
    const graph = planGraph(modules, [], [make(plugins), make(plugins)]);
    assert.deepEqual(namesOf(graph), ["plugins", "plugins", "a"]);
    assert.ok(graph.nodes.slice(0, 2).every(({ module }) => module === "overrides"));
  });

  it("need what they need like any other", () => {
    assert.deepEqual(faultsOf([moduleOf(active(a))], [], [active(a, { b })]), [
      'nothing provides "b", needed by "a" (module overrides, here:LINE); add the module that provides it',
    ]);
  });

  it("are refused where they replace nothing, with the nearest name", () => {
    const typo = token("databse").of<string>();
    const database = token("database").of<string>();
    assert.deepEqual(faultsOf([moduleOf(active(database))], [], [make(typo)]), [
      'the override of "databse" replaces nothing; did you mean "database"?; leave it out or add the module it belongs to',
    ]);
  });

  it("are refused for another token of the same name, and told why", () => {
    const twin = token("a").of<string>();
    assert.deepEqual(faultsOf([moduleOf(active(a))], [], [make(twin)]), [
      'the override of "a" replaces nothing; "a" (module test, here:LINE) provides another token of that name: import that one',
      '2 different tokens are named "a": of "a" (module test, here:LINE) and "a" (module overrides, here:LINE); rename one',
    ]);
  });

  it("are refused when there are two of one", () => {
    assert.deepEqual(
      faultsOf([moduleOf(active(a))], [], [make(a), make(a)])[0],
      '"a" is overridden twice: "a" (module overrides, here:LINE) and "a" (module overrides, here:LINE); keep one',
    );
  });
});

describe("the fault report of a graph", () => {
  it("names what is missing, who needs it where, and the nearest name", () => {
    const notes = token("notes").of<string>();
    const note = token("note").of<string>();
    assert.deepEqual(faultsOf([moduleOf(active(a, { note, b }), make(notes))], []), [
      'nothing provides "note", needed by "a" (module test, here:LINE); did you mean "notes"?; add the module that provides it',
      'nothing provides "b", needed by "a" (module test, here:LINE); add the module that provides it',
    ]);
  });

  it("tells a token made twice from one that is missing", () => {
    const twin = token("a").of<string>();
    const twinList = token("plugins").listOf<string>();
    assert.deepEqual(faultsOf([moduleOf(make(a), make(plugins), active(b, { twin, twinList }))], []), [
      'nothing provides "a", needed by "b" (module test, here:LINE); "a" (module test, here:LINE) provides another token of that name: import that one',
      'nothing provides "plugins", needed by "b" (module test, here:LINE); "plugins" (module test, here:LINE) provides another token of that name: import that one',
    ]);
  });

  it("prints a cycle hop by hop, once, however many ways lead into it", () => {
    assert.deepEqual(faultsOf([moduleOf(active(c, { a, b }), make(a, { b }), make(b, { c }))], []), [
      'cycle: "c" (module test, here:LINE)\n      needs "a" (module test, here:LINE)\n      needs "b" (module test, here:LINE)\n      needs "c" (module test, here:LINE)',
    ]);
  });

  it("prints a provider that needs itself, and one that needs a list which it adds to", () => {
    assert.deepEqual(faultsOf([moduleOf(active(a, { a }), active(plugins, { plugins }))], []), [
      'cycle: "a" (module test, here:LINE)\n      needs "a" (module test, here:LINE)',
      'cycle: "plugins" (module test, here:LINE)\n      needs "plugins" (module test, here:LINE)',
    ]);
  });

  it("names every provider of what is provided twice or thrice, in one fault", () => {
    assert.deepEqual(faultsOf([defineModule("one", [active(a)]), defineModule("two", [make(a), make(a)])], []), [
      '"a" is provided 3 times: "a" (module one, here:LINE) and "a" (module two, here:LINE) and "a" (module two, here:LINE); keep one',
    ]);
  });

  it("refuses two different tokens of one name", () => {
    const twin = token("a").of<string>();
    assert.deepEqual(faultsOf([moduleOf(active(a), active(twin))], []), [
      '2 different tokens are named "a": of "a" (module test, here:LINE) and "a" (module test, here:LINE); rename one',
    ]);
  });

  it("names the expose list as the one who needs", () => {
    assert.deepEqual(faultsOf([moduleOf(active(a))], [b]), [
      'nothing provides "b", needed by the app\'s `expose` list; add the module that provides it',
    ]);
    assert.doesNotThrow(() => planGraph([moduleOf(active(a))], [plugins]));
  });

  it("holds all faults together: missing, cycle, duplicate, override, name clash", () => {
    const d = token("d").of<string>();
    const e = token("e").of<string>();
    const twin = token("e").of<string>();
    const parts = [
      active(a, { missing: token("missing").of(), gone: token("gone").of() }),
      make(b, { c }),
      make(c, { b }),
    ];
    const faults = faultsOf(
      [moduleOf(...parts, make(d), make(d), make(e), make(twin))],
      [],
      [make(token("none").of())],
    );
    assert.deepEqual(
      faults.map(
        (fault) => /cycle|provided 2 times|replaces nothing|different tokens|"missing"|"gone"/.exec(fault)?.[0],
      ),
      ["replaces nothing", "provided 2 times", "different tokens", '"missing"', '"gone"', "cycle"],
    );
  });

  it("checks also what nothing needs: it would fail when somebody does", () => {
    assert.equal(faultsOf([moduleOf(make(a, { missing: token("missing").of() }))], []).length, 1);
  });

  it("tells where a provider stands, to the line", () => {
    const here = new Error("here").stack?.split("\n")[1]?.match(/:(\d+):\d+/)?.[1];
    const late = provider({ provides: a, needs: { b }, create: () => "a" });
    assert.throws(() => planGraph([moduleOf(late)], []), {
      message: new RegExp(`graph\\.test\\.ts:${Number(here) + 1}\\)`),
    });
  });

  it("does without places where there are no stacks to read them from", (t) => {
    const { prepareStackTrace, stackTraceLimit } = Error;
    t.after(() => Object.assign(Error, { prepareStackTrace, stackTraceLimit }));
    Error.stackTraceLimit = 0;
    const bare = active(a, { b });
    Error.stackTraceLimit = 10;
    Error.prepareStackTrace = (_error, frames) => frames;
    const structured = active(c, { b });
    assert.throws(
      () => planGraph([moduleOf(bare, structured)], []),
      /"a" \(module test, unknown place\).*\n.*"c" \(module test, unknown place\)/,
    );
  });
});

describe("a private provider", () => {
  const secret = (own: AnyToken = a, needs: Need = {}): Provider => make(own, needs, { private: true });
  const dependenciesOf = (graph: Graph, id: string): (string | undefined)[] =>
    graph.nodes.find((node) => node.id === id)?.dependencies.map((node) => `${node.id} of ${node.module}`) ?? [];

  it("is seen by its own module, and by the modules in that one", () => {
    const inner = defineModule("inner", [active(c, { a })]);
    const graph = planGraph([defineModule("outer", [secret(), active(b, { a }), inner])], []);
    assert.deepEqual(namesOf(graph), ["a", "b", "c"]);
  });

  it("is seen by nobody else, who is told where it is", () => {
    const modules = [defineModule("one", [secret()]), defineModule("two", [active(b, { a })])];
    assert.deepEqual(faultsOf(modules, []), [
      'nothing provides "a", needed by "b" (module two, here:LINE); "a" (module one, here:LINE) is private to its module: make it public, or need something public of that module',
    ]);
    assert.deepEqual(faultsOf([defineModule("one", [secret()])], [a]), [
      'nothing provides "a", needed by the app\'s `expose` list; "a" (module one, here:LINE) is private to its module: make it public, or need something public of that module',
    ]);
  });

  it("is no duplicate of another module's, nor of a public one, and each module gets its own", () => {
    const graph = planGraph(
      [
        defineModule("one", [secret(), active(b, { a })]),
        defineModule("two", [secret(), active(c, { a })]),
        defineModule("three", [make(a), active(token("d").of(), { a })]),
      ],
      [],
    );
    assert.deepEqual(dependenciesOf(graph, "b"), ["a of one"]);
    assert.deepEqual(dependenciesOf(graph, "c"), ["a#2 of two"]);
    assert.deepEqual(dependenciesOf(graph, "d"), ["a#3 of three"]);
  });

  it("of the nearest module around is taken", () => {
    const inner = defineModule("inner", [secret(), active(b, { a })]);
    const graph = planGraph([defineModule("outer", [secret(), active(c, { a }), inner])], []);
    assert.deepEqual(
      dependenciesOf(graph, "b"),
      ["a of inner"].map((text) => text.replace("a ", "a#2 ")),
    );
    assert.deepEqual(dependenciesOf(graph, "c"), ["a of outer"]);
  });

  it("that stands twice in one module is refused", () => {
    assert.deepEqual(faultsOf([defineModule("one", [secret(), secret(), active(b, { a })])], []), [
      '"a" is provided 2 times: "a" (module one, here:LINE) and "a" (module one, here:LINE); keep one',
    ]);
  });

  it("adds to a list for its own module only", () => {
    const modules = [
      defineModule("one", [make(plugins, {}, { private: true }), active(b, { plugins })]),
      defineModule("two", [make(plugins), active(c, { plugins })]),
    ];
    const graph = planGraph(modules, []);
    assert.deepEqual(dependenciesOf(graph, "b"), ["plugins of one", "plugins#2 of two"]);
    assert.deepEqual(dependenciesOf(graph, "c"), ["plugins#2 of two"]);
  });

  it("can be overridden, and stays private", () => {
    const modules = [defineModule("one", [secret(), active(b, { a })]), defineModule("two", [active(c, { a })])];
    assert.equal(faultsOf(modules, [], [make(a)]).length, 1);
    const graph = planGraph(modules.slice(0, 1), [], [make(a)]);
    assert.deepEqual(dependenciesOf(graph, "b"), ["a of overrides"]);
  });

  it("shared by two modules is seen where either sees it", () => {
    const shared = defineModule("shared", [active(b, { a })]);
    const graph = planGraph([defineModule("one", [shared]), defineModule("two", [secret(), shared])], []);
    assert.deepEqual(dependenciesOf(graph, "b"), ["a of two"]);
  });
});

describe("what lives for one request", () => {
  const perRequest = token("per.request").perRequest<string>();

  it("is built by no start, and its needs are up when something needs it", () => {
    const modules = [moduleOf(make(perRequest, { a }), make(a), active(b, { later: current(perRequest) }))];
    const graph = planGraph(modules, []);
    assert.deepEqual(namesOf(graph), ["a", "b"]);
    assert.deepEqual(
      graph.requestNodes.map(({ id }) => id),
      ["per.request"],
    );
    assert.deepEqual(
      graph.nodes[1]?.dependencies.map(({ id }) => id),
      ["a"],
    );
  });

  it("keeps nothing up that only it needs, when nothing needs it", () => {
    const graph = planGraph([moduleOf(make(perRequest, { a }), make(a), active(b))], []);
    assert.deepEqual([namesOf(graph), graph.requestNodes], [["b"], []]);
  });

  it("is refused as a need of what lives longer, with the way out", () => {
    const leaks: Provider = make(b, { perRequest });
    assert.deepEqual(faultsOf([moduleOf(make(perRequest), leaks)], []), [
      '"b" (module test, here:LINE) lives as long as the app and needs "per.request", which lives for one request; need current(token) instead',
    ]);
  });

  it("is refused with hooks of the app's life", () => {
    assert.deepEqual(faultsOf([moduleOf(make(perRequest, {}, { start: () => {} }))], []), [
      '"per.request" (module test, here:LINE) lives for one request, and has no other hooks than create and stop',
    ]);
  });

  it("has cycles of its own found", () => {
    const other = token("other").perRequest<string>();
    const [fault = ""] = faultsOf([moduleOf(make(perRequest, { other }), make(other, { perRequest }))], []);
    assert.match(fault, /^cycle: "per\.request" .*\n\s+needs "other" .*\n\s+needs "per\.request"/);
  });

  it("may need what asks for it later: that is no cycle", () => {
    const graph = planGraph([moduleOf(make(perRequest, { a }), active(a, { later: current(perRequest) }))], []);
    assert.deepEqual(namesOf(graph), ["a"]);
  });

  it("is reported as missing to what asks for it later", () => {
    assert.deepEqual(faultsOf([moduleOf(active(a, { later: current(perRequest) }))], []), [
      'nothing provides "per.request", needed by "a" (module test, here:LINE); add the module that provides it',
    ]);
  });
});

describe("all faults", () => {
  it("stand in one report: three missing, a cycle, a duplicate, a scope leak, an unknown override", () => {
    const [d, e, f] = ["d", "e", "f"].map((name) => token(name).of<string>());
    assert.ok(d && e && f);
    const perRequest = token("per.request").perRequest<string>();
    const faults = faultsOf(
      [
        moduleOf(make(a, { b }), make(b, { c }), make(c, { a })),
        moduleOf(make(perRequest), make(plugins, { d, e, f }), make(plugins, { perRequest }), make(token("g").of())),
      ],
      [],
      [make(token("nothing").of())],
    );
    const count = (text: string): number => faults.filter((fault) => fault.includes(text)).length;
    assert.equal(count("nothing provides"), 3);
    assert.equal(count("cycle: "), 1);
    assert.equal(count("lives as long as the app"), 1);
    assert.equal(count("replaces nothing"), 1);
    assert.equal(faults.length, 6);
  });
});
