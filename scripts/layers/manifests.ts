// Holds every package.json to the layers, to the vendor table, to exact versions and to what its modules import.
import { allowedFolders, forbidden, isInside, packageOf } from "./modules.ts";
import type { LayerTable, Manifest, Tree, Unit, Violation } from "./tree.ts";

const exactVersion = /^\d+\.\d+\.\d+(?:-[\w.]+)?$/;

/** Every fault of a package.json in the tree. */
export function checkManifests(tree: Tree, table: LayerTable): Violation[] {
  const violations = checkVersions(tree.manifest);
  for (const unit of tree.units) {
    if (unit.manifest === undefined) continue;
    violations.push(...checkVersions(unit.manifest), ...checkDeclared(tree, table, unit, unit.manifest));
  }
  return violations;
}

/** A version that floats makes two installs of one commit differ. Peers are the user's to choose. */
function checkVersions(manifest: Manifest): Violation[] {
  const { dependencies, devDependencies, optionalDependencies } = manifest;
  return [dependencies, devDependencies, optionalDependencies].flatMap((field) =>
    Object.entries(field)
      .filter(([, version]) => !exactVersion.test(version))
      .map(([name, version]) =>
        at(manifest, name, `takes "${name}" at "${version}"; pin one exact version, as in 1.2.3`),
      ),
  );
}

function checkDeclared(tree: Tree, table: LayerTable, unit: Unit, manifest: Manifest): Violation[] {
  const imported = new Set(unit.modules.filter(({ isTest }) => !isTest).flatMap(({ imports }) => imports.map(nameOf)));
  const declared = { ...manifest.dependencies, ...manifest.optionalDependencies, ...manifest.peerDependencies };
  return Object.entries(declared).flatMap(([name, version]) => {
    const target = tree.units.find((other) => other.manifest?.name === name);
    const fault = target === undefined ? checkVendor(table, unit, name) : checkInternal(table, unit, target, version);
    if (fault !== undefined) return [at(manifest, name, fault)];
    if (imported.has(name)) return [];
    return [at(manifest, name, `declares "${name}", which no module of ${unit.folder} imports; remove it`)];
  });
}

function checkInternal(table: LayerTable, unit: Unit, target: Unit, version: string): string | undefined {
  if (target.layer >= unit.layer) return `declares "${target.manifest?.name}": ${forbidden(table, unit, target)}`;
  const current = target.manifest?.version;
  return version === current ? undefined : `takes "${target.manifest?.name}" at "${version}", which is now ${current}`;
}

function checkVendor(table: LayerTable, unit: Unit, name: string): string | undefined {
  const folders = allowedFolders(table, name);
  if (folders === undefined) {
    return `declares "${name}", which is not in the vendor table; add it to the table in scripts/check-layers.ts`;
  }
  if (folders.some((folder) => isInside(folder, [unit.folder]) || isInside(unit.folder, [folder]))) return undefined;
  return `declares "${name}", which only ${folders.join(", ")} may import`;
}

function nameOf({ specifier }: { readonly specifier: string | undefined }): string {
  return packageOf(specifier ?? "") ?? "";
}

/** A violation at the line of the manifest that declares `name`. */
function at(manifest: Manifest, name: string, message: string): Violation {
  const before = manifest.text.slice(0, Math.max(0, manifest.text.indexOf(`"${name}":`)));
  return { file: manifest.file, line: before.split("\n").length, message };
}
