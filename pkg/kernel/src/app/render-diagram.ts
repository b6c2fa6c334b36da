import type { AppDescription, NeedDescription, NodeDescription } from "./description.ts";
import type { AppState } from "./events.ts";
import { goesWithoutSaying, isFailed, oneLine, statePhrase } from "./graph-phrases.ts";

/** A diagram before it has a language: names are `n0`, `n1` … so that no name of a token is a word of the language. */
interface Diagram {
  readonly title: readonly string[];
  readonly clusters: readonly { readonly label: string; readonly boxes: readonly Box[] }[];
  /** Needed, and nothing provides it. */
  readonly missing: readonly Box[];
  readonly arrows: readonly Arrow[];
}

interface Box {
  readonly id: string;
  readonly label: readonly string[];
  readonly looks: Looks;
  readonly isRequest: boolean;
}

type Looks = "plain" | "ground" | "failed" | "missing" | "unused";

interface Arrow {
  readonly from: string;
  readonly to: string;
  readonly isOptional: boolean;
}

/** Graphviz: a box for each provider, a cluster for each module, an arrow from each user to what it needs. */
export function renderDot(description: AppDescription): string {
  const { title, clusters, missing, arrows } = toDiagram(description);
  const lines = [
    `digraph ${quoteDot([description.app])} {`,
    `  graph [rankdir=LR, labelloc=t, label=${quoteDot(title)}];`,
    `  node [shape=box];`,
    ...clusters.flatMap(({ label, boxes }, index) => [
      `  subgraph cluster_${index} {`,
      `    label=${quoteDot([label])};`,
      ...boxes.map((box) => `    ${dotBox(box)}`),
      `  }`,
    ]),
    ...missing.map((box) => `  ${dotBox(box)}`),
    ...arrows.map(({ from, to, isOptional }) => `  ${from} -> ${to}${isOptional ? " [style=dotted]" : ""};`),
    `}`,
  ];
  return `${lines.join("\n")}\n`;
}

const dotLooks: Readonly<Record<Looks, string>> = {
  plain: "",
  ground: ", penwidth=2",
  failed: ', color="#cc0000", fillcolor="#ffdddd", penwidth=2',
  missing: ', color="#cc0000", fontcolor="#cc0000"',
  unused: ', color="#999999", fontcolor="#999999"',
};

function dotBox({ id, label, looks, isRequest }: Box): string {
  const styles = [
    ...(looks === "failed" ? ["filled"] : []),
    ...(isRequest ? ["dashed"] : []),
    ...(looks === "missing" ? ["dotted"] : []),
  ];
  const style = styles.length > 0 ? `, style="${styles.join(",")}"` : "";
  return `${id} [label=${quoteDot(label)}${style}${dotLooks[looks]}];`;
}

/** A label's text: `\` begins an escape and `&` an entity in it. */
function quoteDot(lines: readonly string[]): string {
  const escaped = lines.map((line) =>
    oneLine(line).replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("&", "&amp;"),
  );
  return `"${escaped.join("\\n")}"`;
}

/** Mermaid: a flowchart with a subgraph for each module. */
export function renderMermaid(description: AppDescription): string {
  const { title, clusters, missing, arrows } = toDiagram(description);
  const boxes = [...clusters.flatMap(({ boxes }) => boxes), ...missing];
  const classes = mermaidClasses.flatMap(([name, style]) => {
    const members = boxes.filter(({ looks, isRequest }) => looks === name || (name === "request" && isRequest));
    if (members.length === 0) return [];
    return [`  classDef ${name} ${style}`, `  class ${members.map(({ id }) => id).join(",")} ${name}`];
  });
  const lines = [
    "---",
    `title: ${JSON.stringify(oneLine(title.join("; ")))}`,
    "---",
    "flowchart LR",
    ...clusters.flatMap(({ label, boxes }, index) => [
      `  subgraph m${index}[${quoteMermaid([label])}]`,
      ...boxes.map((box) => `    ${mermaidBox(box)}`),
      `  end`,
    ]),
    ...missing.map((box) => `  ${mermaidBox(box)}`),
    ...arrows.map(({ from, to, isOptional }) => `  ${from} ${isOptional ? "-.->" : "-->"} ${to}`),
    ...classes,
  ];
  return `${lines.join("\n")}\n`;
}

const mermaidClasses: readonly (readonly [string, string])[] = [
  ["ground", "stroke-width:3px"],
  ["failed", "stroke:#c00,stroke-width:3px,fill:#fdd,color:#000"],
  ["missing", "stroke:#c00,color:#c00,stroke-dasharray:2"],
  ["unused", "stroke:#999,color:#999"],
  ["request", "stroke-dasharray:5"],
];

function mermaidBox({ id, label }: Box): string {
  return `${id}[${quoteMermaid(label)}]`;
}

const mermaidEntities: Readonly<Record<string, string>> = { '"': "quot", "<": "lt", ">": "gt", "&": "amp" };

/**
 * Mermaid's own entities, for what would end the label, begin HTML, markdown (a backtick) or a comment (`%%`).
 * A colon right before other text, as in `style:#…;`, makes Mermaid take the line for a style and drop its last semicolon.
 */
function quoteMermaid(lines: readonly string[]): string {
  const escaped = lines.map((line) =>
    oneLine(line).replace(/["<>&#%`;\\]|:(?=\S)/g, (found) => `#${mermaidEntities[found] ?? found.charCodeAt(0)};`),
  );
  return `"${escaped.join("<br/>")}"`;
}

function toDiagram({ app, state, nodes, faults }: AppDescription): Diagram {
  const ids = new Map(nodes.map((node, index) => [node.id, `n${index}`]));
  const missing = new Map<string, Box>();
  const idOfMissing = ({ token }: NeedDescription): string => {
    const known = missing.get(token);
    if (known) return known.id;
    const id = `x${missing.size}`;
    missing.set(token, { id, label: [token, "✗ missing"], looks: "missing", isRequest: false });
    return id;
  };
  const arrows = nodes.flatMap((node) =>
    node.needs.flatMap((need) => {
      const from = ids.get(node.id) ?? "";
      const found = need.ids.flatMap((id) => ids.get(id) ?? []);
      const targets = need.isMissing ? [...found, idOfMissing(need)] : found;
      return targets.map((to) => ({ from, to, isOptional: need.kind === "optional" }));
    }),
  );
  return {
    title: [`${app}: ${state}`, ...faults.map((fault) => `✗ ${fault}`)],
    clusters: [...Map.groupBy(nodes, ({ module }) => module)].map(([module, members]) => ({
      label: `module ${module}`,
      boxes: members.map((node) => toBox(node, ids.get(node.id) ?? "", state)),
    })),
    missing: [...missing.values()],
    arrows,
  };
}

function toBox(node: NodeDescription, id: string, app: AppState): Box {
  const { isPrivate, kind, isGround, state } = node;
  const isRequest = kind === "request";
  const traits = [
    ...(isGround ? ["ground"] : []),
    ...(isPrivate ? ["private"] : []),
    ...(isRequest ? ["one for each request"] : []),
  ];
  return {
    id,
    label: [
      node.id,
      ...(traits.length > 0 ? [traits.join(", ")] : []),
      ...(goesWithoutSaying(node, app) ? [] : [statePhrase(node)]),
    ],
    looks: looksOf(node),
    isRequest,
  };

  function looksOf(node: NodeDescription): Looks {
    if (isFailed(node)) return "failed";
    if (state === "unused") return "unused";
    return isGround ? "ground" : "plain";
  }
}
