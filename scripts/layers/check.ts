// Checks a repository against a layer table: every module, every package.json, circles, and that anything was read at all.
import { checkCircles } from "./circles.ts";
import { checkManifests } from "./manifests.ts";
import { checkModules } from "./modules.ts";
import { type LayerTable, type Tree, type Violation, readTree } from "./tree.ts";

export interface LayerReport {
  /** Every fault, by file and line. */
  readonly violations: readonly Violation[];
  readonly packages: number;
  /** Tests included. */
  readonly modules: number;
  readonly imports: number;
}

/** Reads the repository at `root` and says what in it the table forbids. */
export function checkLayers(root: string, table: LayerTable): LayerReport {
  const { tree, violations } = readTree(root, table);
  violations.push(...checkModules(tree, table), ...checkManifests(tree, table), ...checkCircles(tree));
  violations.push(...checkCounts(tree, table));
  violations.sort((a, b) => (a.file === b.file ? a.line - b.line : a.file < b.file ? -1 : 1));
  const modules = tree.units.flatMap((unit) => unit.modules);
  const imports = modules.reduce((sum, module) => sum + module.imports.length, 0);
  return { violations, packages: tree.units.length, modules: modules.length, imports };
}

/** A check that read nothing would pass: too few modules is a fault, of the tree or of the table. */
function checkCounts(tree: Tree, { leastModules }: LayerTable): Violation[] {
  const counted = tree.units.map(({ folder, layer, modules }) => {
    const source = modules.filter(({ isTest }) => !isTest).length;
    return { folder, layer, source };
  });
  if (counted.every(({ source }) => source === 0)) {
    return [{ file: ".", line: 1, message: `has no module to check under ${tree.root}; is this the repository?` }];
  }
  const packages = counted.filter(({ folder, source }) => source < (folder.startsWith("pkg/") ? leastModules : 1));
  return packages.map(({ folder, source }) => ({
    file: folder,
    line: 1,
    message: `has ${source} modules besides tests; expected ${leastModules} or more of a package, 1 or more elsewhere`,
  }));
}
