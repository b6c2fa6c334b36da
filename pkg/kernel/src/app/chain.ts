import { describe } from "./catalog.ts";
import type { Graph, Node } from "./graph.ts";

/** Of a longer chain both ends are told. */
const [maxFirst, maxLast] = [16, 4];

/** `start of "pool" (module database, src/x.ts:3), needed by "notes" (…)`: one hook, and the chain up to what nothing needs. */
export function chainOf(node: Node, hook: string, graph: Graph): string {
  const chain = [node];
  for (let user = userOf(node, graph); user && !chain.includes(user); user = userOf(user, graph)) chain.push(user);
  const left = chain.length - maxFirst - maxLast;
  const told =
    left > 1
      ? [...chain.slice(0, maxFirst).map(describe), `${left} more`, ...chain.slice(-maxLast).map(describe)]
      : chain.map(describe);
  return `${hook} of ${told.join(", needed by ")}`;
}

function userOf(node: Node, graph: Graph): Node | undefined {
  return graph.nodes.find(({ dependencies }) => dependencies.includes(node));
}
