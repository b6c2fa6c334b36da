import type { AppDescription, NeedDescription, NodeDescription } from "./description.ts";
import { goesWithoutSaying, isFailed, oneLine, statePhrase } from "./graph-phrases.ts";
import { renderDot, renderMermaid } from "./render-diagram.ts";

/** `tree`: text for a terminal. `dot`: Graphviz. `mermaid`: a flowchart. `json`: the description as it is. */
export type GraphFormat = "tree" | "dot" | "mermaid" | "json";

export const graphFormats: readonly GraphFormat[] = ["tree", "dot", "mermaid", "json"];

/**
 * An app's graph as text that ends in a newline. The same description gives the same text; whatever it holds, quotes,
 * control characters and line breaks cannot break out of their label.
 *
 * Graphviz draws a graph of any size. Mermaid draws up to its own `maxEdges`, 500 unless the page raises it.
 *
 * @example process.stdout.write(renderGraph(app.describe(), "tree"));
 */
export function renderGraph(description: AppDescription, format: GraphFormat): string {
  switch (format) {
    case "tree":
      return renderTree(description);
    case "dot":
      return renderDot(description);
    case "mermaid":
      return renderMermaid(description);
    case "json":
      return `${JSON.stringify(description, undefined, 2)}\n`;
  }
}

/** What is needed stands below what needs it; what was shown before is named again, but not what is below it. */
function renderTree(description: AppDescription): string {
  const { app, state, nodes, faults } = description;
  const lines = [`${oneLine(app)}: ${state}`];
  if (faults.length > 0) {
    lines.push("", `${faults.length} fault${faults.length === 1 ? "" : "s"} in the graph:`);
    // a fault has lines of its own: a cycle is told hop by hop
    lines.push(...faults.map((fault) => `  ✗ ${fault.split("\n").map(oneLine).join("\n")}`));
  }
  const built = nodes.filter((node) => node.state !== "unused");
  const tree = new Tree(description);
  const roots = rootsOf(built);
  const users = roots.filter(({ needs }) => needs.length > 0);
  const alone = roots.filter(({ needs }) => needs.length === 0);
  for (const root of users) lines.push("", ...tree.linesOf(root));
  // What is left stands in a circle or is needed by one. Users come late in the order, so that is where to enter it.
  for (const node of built.toReversed()) {
    if (!alone.includes(node) && !tree.hasShown(node)) lines.push("", ...tree.linesOf(node));
  }
  if (alone.length > 0) lines.push("", ...alone.flatMap((node) => tree.linesOf(node)));
  if (nodes.length === 0) lines.push("", "no providers");
  const unused = nodes.filter((node) => node.state === "unused");
  if (unused.length > 0) {
    lines.push("", "unused, never built:", ...unused.map((node) => `  ${phrasesOf(node, description).join(" · ")}`));
  }
  return `${lines.join("\n")}\n`;
}

function rootsOf(nodes: readonly NodeDescription[]): NodeDescription[] {
  const needed = new Set(nodes.flatMap(({ needs }) => needs.flatMap(({ ids }) => ids)));
  return nodes.filter(({ id }) => !needed.has(id));
}

/** One line still to be written: a node, or a need that no node meets. */
interface Entry {
  readonly what: NodeDescription | NeedDescription;
  /** Before the line, and before the lines below it. */
  readonly branch: string;
  readonly indent: string;
  /** Those on the way from the root. */
  readonly path: Path | undefined;
}

interface Path {
  readonly id: string;
  readonly above: Path | undefined;
}

class Tree {
  readonly #description: AppDescription;
  readonly #byId: ReadonlyMap<string, NodeDescription>;
  readonly #shown = new Set<string>();

  constructor(description: AppDescription) {
    this.#description = description;
    this.#byId = new Map(description.nodes.map((node) => [node.id, node]));
  }

  hasShown({ id }: NodeDescription): boolean {
    return this.#shown.has(id);
  }

  /** A stack of its own, for a chain may be longer than the calls that the engine allows. */
  linesOf(root: NodeDescription): string[] {
    const lines: string[] = [];
    const stack: Entry[] = [{ what: root, branch: "", indent: "", path: undefined }];
    for (let entry = stack.pop(); entry; entry = stack.pop()) {
      const { what, branch, indent, path } = entry;
      if ("token" in what && !("id" in what)) {
        lines.push(branch + unmetPhrase(what));
      } else if (this.#shown.has(what.id)) {
        const mark = isOn(path, what.id) ? "in a circle, ↑ above" : "↑ above";
        lines.push(`${branch}${isFailed(what) ? "✗ " : ""}${oneLine(what.id)} (${mark})`);
      } else {
        this.#shown.add(what.id);
        lines.push(branch + phrasesOf(what, this.#description).join(" · "));
        stack.push(...this.#below(what, indent, { id: what.id, above: path }).toReversed());
      }
    }
    return lines;
  }

  #below(node: NodeDescription, indent: string, path: Path): Entry[] {
    const children = node.needs.flatMap((need): (NodeDescription | NeedDescription)[] => {
      const found = need.ids.flatMap((id) => this.#byId.get(id) ?? []);
      return found.length > 0 ? found : [need];
    });
    return children.map((what, index) => {
      const isLast = index === children.length - 1;
      return {
        what,
        branch: `${indent}${isLast ? "└─ " : "├─ "}`,
        indent: `${indent}${isLast ? "   " : "│  "}`,
        path,
      };
    });
  }
}

function isOn(path: Path | undefined, id: string): boolean {
  for (let step = path; step; step = step.above) if (step.id === id) return true;
  return false;
}

function phrasesOf(node: NodeDescription, { state }: AppDescription): string[] {
  const { id, module, place, isGround, isPrivate, kind } = node;
  return [
    oneLine(id),
    `module ${oneLine(module)}`,
    ...(isGround ? ["ground"] : []),
    ...(isPrivate ? ["private"] : []),
    ...(kind === "request" ? ["one for each request"] : []),
    ...(isFailed(node) ? [oneLine(place)] : []),
    ...(node.state === "unused" || goesWithoutSaying(node, state) ? [] : [statePhrase(node)]),
  ];
}

function unmetPhrase({ token, kind, isMissing }: NeedDescription): string {
  const name = oneLine(token);
  if (isMissing) return `✗ ${name}: missing, nothing provides it`;
  switch (kind) {
    case "settings":
      return `${name} (settings)`;
    case "list":
      return `${name} (list, empty)`;
    case "optional":
      return `${name} (optional, absent)`;
    case "one":
    case "request":
      return `${name} (absent)`;
  }
}
