import { describe } from "./catalog.ts";
import type { Graph, Node } from "./graph.ts";

/** `start of "pool" (module database, src/x.ts:3), needed by "notes" (…)`: one hook, and the chain up to what nothing needs. */
export function chainOf(node: Node, hook: string, graph: Graph): string {
  const chain = [node];
  for (let user = userOf(node, graph); user && !chain.includes(user); user = userOf(user, graph)) chain.push(user);
  return `${hook} of ${chain.map(describe).join(", needed by ")}`;
}

function userOf(node: Node, graph: Graph): Node | undefined {
  return graph.nodes.find(({ dependencies }) => dependencies.includes(node));
}
