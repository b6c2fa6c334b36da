import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { AppDescription, NeedDescription, NodeDescription } from "./description.ts";
import { graphFormats, renderGraph } from "./render-graph.ts";

const node = (id: string, rest: Partial<NodeDescription> = {}): NodeDescription => ({
  id,
  token: id.replace(/#\d+$/, ""),
  kind: "one",
  module: "main",
  place: `src/${id}.ts:1`,
  isGround: false,
  isPrivate: false,
  needs: [],
  state: "waiting",
  hooks: [],
  ...rest,
});
const need = (token: string, rest: Partial<NeedDescription> = {}): NeedDescription => ({
  token,
  kind: "one",
  ids: [token],
  isMissing: false,
  ...rest,
});
const appOf = (nodes: readonly NodeDescription[], rest: Partial<AppDescription> = {}): AppDescription => ({
  app: "notes",
  state: "created",
  nodes,
  faults: [],
  ...rest,
});

/** One of each: ground, private, a list, a settings section, what is optional and absent, what is unused. */
const started = appOf(
  [
    node("logger", {
      module: "core",
      isGround: true,
      needs: [need("log", { kind: "settings", ids: [] })],
      state: "started",
      hooks: [{ hook: "create", tookMs: 1.26 }],
    }),
    node("pool", {
      module: "storage",
      isPrivate: true,
      needs: [need("logger")],
      state: "started",
      hooks: [
        { hook: "create", tookMs: 0.5 },
        { hook: "start", tookMs: 11.6 },
      ],
    }),
    node("checks#1", { token: "checks", kind: "list", state: "created", hooks: [{ hook: "create", tookMs: 0 }] }),
    node("checks#2", { token: "checks", kind: "list", needs: [need("pool")], state: "created" }),
    node("session", { kind: "request", needs: [need("pool"), need("cache", { kind: "optional", ids: [] })] }),
    node("server", {
      needs: [
        need("logger"),
        need("checks", { kind: "list", ids: ["checks#1", "checks#2"] }),
        need("routes", { kind: "list", ids: [] }),
        need("session", { kind: "request" }),
      ],
      state: "started",
    }),
    node("mailer", { module: "mail", needs: [need("logger")], state: "unused" }),
  ],
  { state: "ready" },
);

describe("the tree of a graph", () => {
  it("shows what is needed below its users, each thing once, and what is unused at the end", () => {
    assert.equal(
      renderGraph(started, "tree"),
      `notes: ready

server · module main · started
├─ logger · module core · ground · started 1.3 ms
│  └─ log (settings)
├─ checks#1 · module main · created 0 ms
├─ checks#2 · module main · created
│  └─ pool · module storage · private · started 12 ms
│     └─ logger (↑ above)
├─ routes (list, empty)
└─ session · module main · one for each request
   ├─ pool (↑ above)
   └─ cache (optional, absent)

unused, never built:
  mailer · module mail
`,
    );
  });

  it("marks what failed, where it is and with what, on one line", () => {
    const failed = node("bucket", {
      state: "failed",
      hooks: [
        { hook: "create", tookMs: 1 },
        { hook: "start", tookMs: 120.4, error: "no such\n  bucket: \u001b[31mphotos" },
        { hook: "stop", tookMs: 2, error: "never opened" },
      ],
    });
    const users = ["a", "b"].map((id) => node(id, { needs: [need("bucket")] }));
    const text = renderGraph(appOf([failed, ...users], { state: "failed" }), "tree");
    assert.equal(
      text,
      `notes: failed

a · module main · waiting
└─ bucket · module main · src/bucket.ts:1 · ✗ failed: start: no such bucket: \\u001b[31mphotos (after 120 ms); stop: never opened (after 2 ms)

b · module main · waiting
└─ ✗ bucket (↑ above)
`,
    );
  });

  it("says which hook of a failed node failed, and marks none that was only cut short", () => {
    const failed = node("a", { state: "failed", hooks: [{ hook: "stop", tookMs: 1, error: "busy" }] });
    const cutShort = node("b", { state: "stopped", hooks: [{ hook: "create", tookMs: 1, error: "was cancelled" }] });
    const text = renderGraph(appOf([failed, cutShort], { state: "stopped" }), "tree");
    assert.match(text, /a · .*✗ failed: stop: busy \(after 1 ms\)/);
    assert.match(text, /b · module main · stopped\n/);
    assert.equal(text.split("✗ failed").length, 2);
  });

  it("tells how long what has stopped took to stop", () => {
    const stopped = node("a", {
      state: "stopped",
      hooks: [
        { hook: "create", tookMs: 500 },
        { hook: "drain", tookMs: 20 },
        { hook: "stop", tookMs: 3 },
      ],
    });
    assert.match(renderGraph(appOf([stopped], { state: "stopped" }), "tree"), /a · module main · stopped 23 ms\n/);
  });

  it("shows what is missing, and the faults above", () => {
    const description = appOf([node("a", { needs: [need("b", { ids: [], isMissing: true })] })], {
      faults: [`nothing provides "b", needed by "a"`, `cycle: "c"\n      needs "c"`],
    });
    assert.equal(
      renderGraph(description, "tree"),
      `notes: created

2 faults in the graph:
  ✗ nothing provides "b", needed by "a"
  ✗ cycle: "c"
      needs "c"

a · module main
└─ ✗ b: missing, nothing provides it
`,
    );
  });

  it("goes round a circle once, entering it where its users do", () => {
    const circle = [
      node("base"),
      node("c", { needs: [need("a")] }),
      node("b", { needs: [need("c"), need("base")] }),
      node("a", { needs: [need("b")] }),
      node("self", { needs: [need("self")] }),
    ];
    assert.equal(
      renderGraph(appOf(circle), "tree"),
      `notes: created

self · module main
└─ self (in a circle, ↑ above)

a · module main
└─ b · module main
   ├─ c · module main
   │  └─ a (in a circle, ↑ above)
   └─ base · module main
`,
    );
  });

  it("keeps what stands alone together, below the rest", () => {
    const nodes = [node("alone"), node("base"), node("user", { needs: [need("base")] }), node("alone too")];
    assert.equal(
      renderGraph(appOf(nodes), "tree"),
      `notes: created

user · module main
└─ base · module main

alone · module main
alone too · module main
`,
    );
  });

  it("says so of an app that has no providers", () => {
    assert.equal(renderGraph(appOf([]), "tree"), "notes: created\n\nno providers\n");
  });
});

/** Each token, its own line break and quote, and whatever the formats know as words and signs. */
const nasty = [
  'a"b',
  "a\\",
  "a\\n",
  "line\nbreak\r\ntab\t\0",
  "<b>x</b>",
  "]",
  "}",
  "end",
  "subgraph",
  "default",
  "graph",
  "style:#quot;x;",
  "classDef a:#f00;",
  "`md`",
  "%%{init: {}}%%",
  "#35;",
  "&amp;",
  "a --> b",
  "n0",
  "\u202egnp",
];
const hostile = appOf(
  nasty.map((id, index) =>
    node(id, {
      module: id,
      needs: [need(nasty[(index + 1) % nasty.length]!), need(`${id}!`, { ids: [], isMissing: true })],
      state: "failed",
      hooks: [{ hook: "start", tookMs: 1, error: id }],
    }),
  ),
  { app: nasty.join(""), faults: nasty },
);

describe("the DOT of a graph", () => {
  it("has a cluster for each module and tells ground, failed, missing, unused and what requests make apart", () => {
    const missing = node("broken", {
      state: "failed",
      needs: [need("gone", { ids: [], isMissing: true }), need("logger", { kind: "optional" })],
    });
    assert.equal(
      renderGraph(appOf([...started.nodes.slice(0, 2), started.nodes[4]!, started.nodes[6]!, missing]), "dot"),
      `digraph "notes" {
  graph [rankdir=LR, labelloc=t, label="notes: created"];
  node [shape=box];
  subgraph cluster_0 {
    label="module core";
    n0 [label="logger\\nground\\nstarted 1.3 ms", penwidth=2];
  }
  subgraph cluster_1 {
    label="module storage";
    n1 [label="pool\\nprivate\\nstarted 12 ms"];
  }
  subgraph cluster_2 {
    label="module main";
    n2 [label="session\\none for each request", style="dashed"];
    n4 [label="broken\\n✗ failed", style="filled", color="#cc0000", fillcolor="#ffdddd", penwidth=2];
  }
  subgraph cluster_3 {
    label="module mail";
    n3 [label="mailer\\nunused", color="#999999", fontcolor="#999999"];
  }
  x0 [label="gone\\n✗ missing", style="dotted", color="#cc0000", fontcolor="#cc0000"];
  n1 -> n0;
  n2 -> n1;
  n3 -> n0;
  n4 -> x0;
  n4 -> n0 [style=dotted];
}
`,
    );
  });

  it("is the language that Graphviz reads, whatever the names hold", () => {
    const parsed = parseDot(renderGraph(hostile, "dot"));
    const shown = (text: string): string =>
      text.replace(/\s*[\r\n]+\s*/g, " ").replace(/[\0\t\u202e]/g, (c) => `\\u${hex(c)}`);
    assert.deepEqual(
      [...parsed.labels].filter(([id]) => id.startsWith("n")).map(([, label]) => label.split("\n")[0]),
      nasty.map(shown),
    );
    assert.equal(parsed.edges.length, 2 * nasty.length);
    for (const edge of parsed.edges.flat()) assert.ok(parsed.labels.has(edge), edge);
  });
});

describe("the Mermaid of a graph", () => {
  it("has a subgraph for each module and a class for each look", () => {
    const broken = node("broken", {
      state: "failed",
      hooks: [{ hook: "start", tookMs: 3, error: 'no "photos"' }],
      needs: [need("gone", { ids: [], isMissing: true }), need("logger", { kind: "optional" })],
    });
    assert.equal(
      renderGraph(
        appOf([started.nodes[0]!, started.nodes[6]!, { ...started.nodes[4]!, needs: [] }, broken]),
        "mermaid",
      ),
      `---
title: "notes: created"
---
flowchart LR
  subgraph m0["module core"]
    n0["logger<br/>ground<br/>started 1.3 ms"]
  end
  subgraph m1["module mail"]
    n1["mailer<br/>unused"]
  end
  subgraph m2["module main"]
    n2["session<br/>one for each request"]
    n3["broken<br/>✗ failed: start: no #quot;photos#quot; (after 3 ms)"]
  end
  x0["gone<br/>✗ missing"]
  n1 --> n0
  n3 --> x0
  n3 -.-> n0
  classDef ground stroke-width:3px
  class n0 ground
  classDef failed stroke:#c00,stroke-width:3px,fill:#fdd,color:#000
  class n3 failed
  classDef missing stroke:#c00,color:#c00,stroke-dasharray:2
  class x0 missing
  classDef unused stroke:#999,color:#999
  class n1 unused
  classDef request stroke-dasharray:5
  class n2 request
`,
    );
  });

  it("keeps every name inside its label, whatever it holds", () => {
    const text = renderGraph(hostile, "mermaid");
    const [, title = "", body = ""] = /^---\ntitle: (".*")\n---\nflowchart LR\n([^]*)$/.exec(text) ?? [];
    assert.ok(JSON.parse(title).startsWith('a"b'));
    const label = String.raw`"(?:[^"<>&\`%\\;#]|#\w+;|<br/>)*"`;
    const statement = new RegExp(
      String.raw`^ +(?:subgraph m\d+\[${label}\]|[nx]\d+\[${label}\]|end|[nx]\d+ (?:-->|-\.->) [nx]\d+|classDef \w+ [\w:#,-]+|class [nx\d,]+ \w+)$`,
    );
    for (const line of body.trimEnd().split("\n")) {
      assert.match(line, statement);
      // Mermaid takes the last semicolon from what looks like a style
      if (!line.startsWith("  classDef")) assert.doesNotMatch(line, /(?:style|classDef).*:\S*#.*;/);
    }
    const names = [...body.matchAll(/ n\d+\["(.*?)<br\/>/g)].map(([, name = ""]) => decodeMermaid(name));
    assert.deepEqual(names.slice(4, 8), ["<b>x</b>", "]", "}", "end"]);
    assert.ok(names.includes("style:#quot;x;") && names.includes("%%{init: {}}%%") && names.includes("&amp;"));
  });
});

describe("renderGraph", () => {
  it("gives the description itself as JSON", () => {
    assert.deepEqual(JSON.parse(renderGraph(started, "json")), started);
  });

  it("writes the same text for the same graph, of a thousand providers, in a chain and in layers, in each format", () => {
    const name = (index: number): string => `p${index}`;
    const chain = Array.from({ length: 1_000 }, (_, index) =>
      node(name(index), { needs: index === 0 ? [] : [need(name(index - 1))] }),
    );
    const layers = Array.from({ length: 1_000 }, (_, index) =>
      node(name(index), {
        needs: [1, 2, 3].flatMap((step) => (index >= step * 10 ? [need(name(index - step * 10))] : [])),
      }),
    );
    for (const nodes of [chain, layers]) {
      for (const format of graphFormats) {
        const text = renderGraph(appOf(nodes), format);
        assert.equal(text, renderGraph(structuredClone(appOf(nodes)), format));
        for (const id of ["p0", "p500", "p999"]) assert.ok(text.includes(id), `${id} in ${format}`);
      }
      const firsts = renderGraph(appOf(nodes), "tree").match(/p\d+ · /g) ?? [];
      assert.equal(new Set(firsts).size, 1_000);
      assert.equal(firsts.length, 1_000);
      assert.equal(parseDot(renderGraph(appOf(nodes), "dot")).labels.size, 1_000);
    }
  });
});

const hex = (character: string): string => character.charCodeAt(0).toString(16).padStart(4, "0");

function decodeMermaid(text: string): string {
  const named: Readonly<Record<string, string>> = { quot: '"', lt: "<", gt: ">", amp: "&" };
  return text.replace(/#(\w+);/g, (_, entity: string) => named[entity] ?? String.fromCharCode(Number(entity)));
}

interface ParsedDot {
  /** By id of the node, escapes and entities read as Graphviz reads them. */
  readonly labels: ReadonlyMap<string, string>;
  readonly edges: readonly (readonly [string, string])[];
}

/** The grammar of https://graphviz.org/doc/info/lang.html, strict: what it does not name throws. */
function parseDot(source: string): ParsedDot {
  const tokens = [...source.matchAll(/\s+|->|[{}[\]=,;]|[A-Za-z_]\w*|-?\d+(?:\.\d+)?|"(?:[^"\\\n]|\\[^\n])*"|([^])/g)]
    .map((match) => {
      assert.equal(match[1], undefined, `a stray ${match[0]} at ${match.index}`);
      return match[0];
    })
    .filter((text) => text.trim() !== "");
  const labels = new Map<string, string>();
  const edges: [string, string][] = [];
  const isId = (text = ""): boolean => /^["\w-]/.test(text) && text !== "->";
  const next = (): string | undefined => tokens[0];
  const take = (expected?: string): string => {
    const text = tokens.shift();
    assert.ok(text !== undefined, "it ends too early");
    if (expected !== undefined) assert.equal(text, expected);
    return text;
  };
  const takeId = (): string => {
    const text = take();
    assert.ok(isId(text), `${text} is no id`);
    return text;
  };
  const attributes = (): Map<string, string> => {
    const found = new Map<string, string>();
    take("[");
    while (next() !== "]") {
      const name = takeId();
      take("=");
      found.set(name, takeId());
      if (next() === "," || next() === ";") take();
    }
    take("]");
    return found;
  };
  const statements = (): void => {
    take("{");
    while (next() !== "}") {
      if (next() === "subgraph") {
        take();
        takeId();
        statements();
      } else {
        const id = takeId();
        if (next() === "=") {
          take();
          takeId();
        } else if (next() === "->") {
          take();
          edges.push([id, takeId()]);
          if (next() === "[") attributes();
        } else {
          const label = attributes().get("label");
          if (id !== "graph" && id !== "node") labels.set(id, readLabel(label ?? ""));
        }
      }
      if (next() === ";") take();
    }
    take("}");
  };
  take("digraph");
  takeId();
  statements();
  assert.deepEqual(tokens, []);
  return { labels, edges };
}

function readLabel(quoted: string): string {
  return quoted
    .slice(1, -1)
    .replace(/\\(.)/g, (_, escaped: string) => (escaped === "n" ? "\n" : escaped))
    .replaceAll("&amp;", "&");
}
