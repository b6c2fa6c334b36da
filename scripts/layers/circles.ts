// Finds imports that go round: between the files of a package, and between packages.
import { posix } from "node:path";
import { packageOf } from "./modules.ts";
import type { Tree, Unit, Violation } from "./tree.ts";

/** Who leads where, and on which line. */
type Graph = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** One violation for each group of files, or of packages, that reach each other. Types alone make no circle of files. */
export function checkCircles(tree: Tree): Violation[] {
  return [...tree.units.flatMap((unit) => report(fileGraph(unit))), ...report(packageGraph(tree))];
}

function fileGraph(unit: Unit): Graph {
  const edges = unit.modules.map(({ file, imports }) => {
    const targets = imports.filter(({ specifier, typeOnly }) => specifier?.startsWith(".") === true && !typeOnly);
    const lines = targets.map(
      ({ specifier = "", line }) => [posix.join(posix.dirname(file), specifier), line] as const,
    );
    return [file, new Map(lines.toReversed())] as const;
  });
  return new Map(edges);
}

function packageGraph(tree: Tree): Graph {
  const folders = new Map(tree.units.map(({ folder, manifest }) => [manifest?.name ?? folder, folder]));
  const edges = tree.units.map(({ folder, modules, manifest }) => {
    const imported = modules.filter(({ isTest }) => !isTest).flatMap(({ imports }) => imports);
    const names = imported.map(({ specifier = "" }) => packageOf(specifier) ?? "");
    const declared = Object.keys({ ...manifest?.dependencies, ...manifest?.peerDependencies });
    const targets = [...names, ...declared].flatMap((name) => folders.get(name) ?? []);
    return [folder, new Map(targets.filter((target) => target !== folder).map((target) => [target, 1]))] as const;
  });
  return new Map(edges);
}

function report(graph: Graph): Violation[] {
  const violations: Violation[] = [];
  const reported = new Set<string>();
  for (const start of graph.keys()) {
    if (reported.has(start)) continue;
    const circle = shortestWayBack(graph, start);
    if (circle === undefined) continue;
    for (const node of circle) reported.add(node);
    const line = graph.get(start)?.get(circle[1] ?? start) ?? 1;
    violations.push({ file: start, line, message: `imports in a circle: ${circle.join(" → ")}; cut one of these` });
  }
  return violations;
}

/** From `start` back to itself by the fewest steps, both ends included; undefined when there is no way. */
function shortestWayBack(graph: Graph, start: string): string[] | undefined {
  const cameFrom = new Map<string, string>();
  const queue = [start];
  for (const node of queue) {
    for (const next of graph.get(node)?.keys() ?? []) {
      if (next === start) return [...trace(cameFrom, node), start];
      if (cameFrom.has(next)) continue;
      cameFrom.set(next, node);
      queue.push(next);
    }
  }
  return undefined;
}

function trace(cameFrom: ReadonlyMap<string, string>, end: string): string[] {
  const path = [end];
  for (let node = cameFrom.get(end); node !== undefined; node = cameFrom.get(node)) path.unshift(node);
  return path;
}
