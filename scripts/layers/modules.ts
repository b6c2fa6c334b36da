// Holds every import of every module to the layers, to the vendor table and to the package that declares it.
import { existsSync } from "node:fs";
import { isBuiltin } from "node:module";
import { join, posix } from "node:path";
import type { ImportSite } from "./imports.ts";
import type { LayerTable, Manifest, Module, Tree, Unit, Violation } from "./tree.ts";

/** Every forbidden import in the tree. */
export function checkModules(tree: Tree, table: LayerTable): Violation[] {
  const violations: Violation[] = [];
  for (const unit of tree.units) {
    for (const module of unit.modules) {
      for (const site of module.imports) {
        const message = checkImport({ tree, table, unit, module }, site);
        if (message !== undefined) violations.push({ file: module.file, line: site.line, message });
      }
    }
  }
  return violations;
}

interface Place {
  readonly tree: Tree;
  readonly table: LayerTable;
  readonly unit: Unit;
  readonly module: Module;
}

/** What is wrong with the import, or undefined. */
function checkImport(place: Place, { specifier }: ImportSite): string | undefined {
  if (specifier === undefined) {
    const mayLoad = place.module.isTest || place.table.loaders.includes(place.module.file);
    return mayLoad ? undefined : "imports a computed path, which nobody can check; write the path out";
  }
  if (specifier.startsWith(".")) return checkPath(place, specifier);
  if (specifier.startsWith("#")) return checkPrivate(place, specifier);
  if (isBuiltin(specifier)) {
    return specifier.startsWith("node:") ? undefined : `imports "${specifier}"; write "node:${specifier}"`;
  }
  const name = packageOf(specifier);
  if (name === undefined) return `imports "${specifier}", which is neither a relative path nor a package`;
  const target = place.tree.units.find(({ manifest }) => manifest?.name === name);
  return target === undefined
    ? checkVendor(place, name)
    : checkInternal(place, target, specifier.slice(name.length + 1));
}

/** The package in `zod/v4`, `@scope/name/sub`; undefined for `/absolute`, `#private` and the like. */
export function packageOf(specifier: string): string | undefined {
  return /^(?:@[\w.~-]+\/)?[\w~-][\w.~-]*/.exec(specifier)?.[0];
}

function checkPath({ tree, table, unit, module }: Place, specifier: string): string | undefined {
  const target = posix.join(posix.dirname(module.file), specifier);
  if (!isInside(target, [unit.folder])) {
    if (module.isTest && isInside(target, table.testHelpers)) return undefined;
    const helpers = module.isTest ? `, or from ${table.testHelpers.join(", ")}` : "";
    return `imports "${specifier}", which lies outside ${unit.folder}; import packages by name${helpers}`;
  }
  if (!existsSync(join(tree.root, target))) return `imports "${specifier}", which is not there (${target})`;
  if (module.isTest || isTesting(module, unit)) return undefined;
  if (target.endsWith(".test.ts")) return `imports "${specifier}", a test; only tests may`;
  if (isInside(target, [`${unit.folder}/src/testing`])) {
    return `imports "${specifier}", which is for tests; only tests and src/testing may`;
  }
  return undefined;
}

/** What `imports` of the package's own manifest names: a module that a thread runs. */
function checkPrivate({ tree, unit }: Place, specifier: string): string | undefined {
  const target = unit.manifest?.imports[specifier];
  if (target !== undefined && existsSync(join(tree.root, unit.folder, target))) return undefined;
  return `imports "${specifier}", which "imports" of ${unit.folder}/package.json does not lead to a module`;
}

function checkInternal({ table, unit, module }: Place, target: Unit, subpath: string): string | undefined {
  const name = target.manifest?.name ?? "";
  if (target === unit) {
    return module.isTest ? undefined : `imports its own package "${name}"; use a relative path`;
  }
  if (target.layer >= unit.layer) return forbidden(table, unit, target);
  const exported = target.manifest?.exports ?? [];
  if (!exported.includes(subpath)) {
    const allowed = exported.map((path) => `"${posix.join(name, path)}"`).join(", ") || "nothing";
    return `imports "${posix.join(name, subpath)}", which ${name} does not export; it exports ${allowed}`;
  }
  if (module.isTest) return undefined;
  const mayUseFakes = isTesting(module, unit) || table.standIns.includes(module.file);
  if (subpath.split("/")[0] === "testing" && !mayUseFakes) {
    return `imports "${name}/${subpath}", which is for tests; only tests and src/testing may`;
  }
  return isDeclared(name, unit.manifest) ? undefined : undeclared(name, unit);
}

/** The sentence for an import that does not go down, with where it might go. */
export function forbidden(table: LayerTable, unit: Unit, target: Unit): string {
  const direction = target.layer === unit.layer ? "sideways" : "upwards";
  const allowed = table.layers.slice(0, unit.layer).flat().join(", ") || "no package";
  return (
    `goes ${direction} from ${unit.folder} (layer ${unit.layer}) to ${target.folder} (layer ${target.layer}); ` +
    `${unit.folder} may import ${allowed}`
  );
}

function checkVendor({ tree, table, unit, module }: Place, name: string): string | undefined {
  const folders = allowedFolders(table, name);
  if (module.isTest) {
    return isDeclared(name, unit.manifest) || isDeclared(name, tree.manifest) ? undefined : undeclared(name, unit);
  }
  if (folders === undefined) {
    return `imports "${name}", which is not in the vendor table; add it to the table in scripts/check-layers.ts`;
  }
  if (!isInside(module.file, folders)) return `imports "${name}" outside its driver; only ${folders.join(", ")} may`;
  return isDeclared(name, unit.manifest ?? tree.manifest) ? undefined : undeclared(name, unit);
}

/** Where the vendor's package may be imported; undefined when the table does not know it. */
export function allowedFolders(table: LayerTable, name: string): readonly string[] | undefined {
  return table.vendors[name] ?? table.vendors[`${name.split("/")[0]}/*`];
}

/** Whether `path` is one of `folders` or lies in one. */
export function isInside(path: string, folders: readonly string[]): boolean {
  return folders.some((folder) => path === folder || path.startsWith(`${folder}/`));
}

function isTesting(module: Module, unit: Unit): boolean {
  return isInside(module.file, [`${unit.folder}/src/testing`]);
}

function isDeclared(name: string, manifest: Manifest | undefined): boolean {
  if (manifest === undefined) return false;
  const { dependencies, devDependencies, optionalDependencies, peerDependencies } = manifest;
  const all = { ...dependencies, ...optionalDependencies, ...peerDependencies };
  return name in all || (manifest.file === "package.json" && name in devDependencies);
}

function undeclared(name: string, unit: Unit): string {
  return `imports "${name}", which ${unit.manifest?.file ?? "package.json"} does not declare; add it to its dependencies`;
}
