// Reads the packages of a repository and the modules in them, as the layer table names them.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type ImportSite, findImports } from "./imports.ts";

export interface LayerTable {
  /**
   * The folders of each layer, lowest first; `cmd/*` is every folder of `cmd`. A package imports from lower layers only,
   * and none of the highest layer is imported at all.
   */
  readonly layers: readonly (readonly string[])[];
  /** Which folders may import a vendor's package; `@scope/*` is every package of the scope without a line of its own. */
  readonly vendors: Readonly<Record<string, readonly string[]>>;
  /** Folders outside the packages that tests, and nothing else, may import from by path. */
  readonly testHelpers: readonly string[];
  /** Modules in which a fake stands for a service that does not exist yet: they may import what is for tests. */
  readonly standIns: readonly string[];
  /** Modules that load what a user's own folder holds. */
  readonly loaders: readonly string[];
  /** A package with fewer modules than this was not read right, or is not worth being one. */
  readonly leastModules: number;
}

export interface Violation {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** What is wrong, and what is allowed. */
  readonly message: string;
}

export interface Module {
  /** From the repository's root, with slashes. */
  readonly file: string;
  readonly imports: readonly ImportSite[];
  readonly isTest: boolean;
}

export interface Manifest {
  readonly file: string;
  readonly text: string;
  readonly name: string;
  readonly version: string;
  /** The subpaths that may be imported, without the leading `./`; the package itself is "". */
  readonly exports: readonly string[];
  /** What its own modules may name, `#thread`, and which module it is. */
  readonly imports: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
}

/** A package, a command or an example. */
export interface Unit {
  readonly folder: string;
  /** Its place in the table, 0 the lowest. */
  readonly layer: number;
  /** Examples may have none. */
  readonly manifest: Manifest | undefined;
  readonly modules: readonly Module[];
}

export interface Tree {
  readonly root: string;
  readonly manifest: Manifest;
  readonly units: readonly Unit[];
}

const skipped = new Set(["node_modules", "dist", "coverage", ".cache"]);

/** Reads every folder that the table names or that lies beside one that it names. */
export function readTree(root: string, table: LayerTable): { tree: Tree; violations: Violation[] } {
  const violations: Violation[] = [];
  const units: Unit[] = [];
  const patterns = table.layers.flatMap((folders, layer) => folders.map((pattern) => ({ pattern, layer })));
  const parents = new Set(patterns.map(({ pattern }) => pattern.slice(0, pattern.lastIndexOf("/"))));
  for (const parent of parents) {
    for (const folder of listFolders(root, parent)) {
      const row = patterns.find(({ pattern }) => pattern === folder || pattern === `${parent}/*`);
      if (row === undefined) {
        const message = `is in no layer; add it to the table in scripts/check-layers.ts`;
        violations.push({ file: folder, line: 1, message });
        continue;
      }
      const modules = listModules(root, folder).map((file) => readModule(root, file));
      units.push({ folder, layer: row.layer, manifest: readManifest(root, folder), modules });
    }
  }
  for (const { pattern } of patterns) {
    if (pattern.endsWith("/*") || units.some(({ folder }) => folder === pattern)) continue;
    const message = `is in the table of scripts/check-layers.ts but is not there; remove its row`;
    violations.push({ file: pattern, line: 1, message });
  }
  const manifest = readManifest(root, "");
  if (manifest === undefined) throw new Error(`${root} has no package.json, so it is no repository to check`);
  return { tree: { root, manifest, units }, violations };
}

function listFolders(root: string, parent: string): string[] {
  if (!existsSync(join(root, parent))) return [];
  const entries = readdirSync(join(root, parent), { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory() && !skipped.has(entry.name));
  return folders.map(({ name }) => `${parent}/${name}`).toSorted();
}

function listModules(root: string, folder: string): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory() && !skipped.has(entry.name)) found.push(...listModules(root, path));
    if (entry.isFile() && /\.[cm]?[jt]s$/.test(entry.name)) found.push(path);
  }
  return found.toSorted();
}

function readModule(root: string, file: string): Module {
  const source = readFileSync(join(root, file), "utf8");
  return { file, imports: findImports(source), isTest: file.endsWith(".test.ts") };
}

function readManifest(root: string, folder: string): Manifest | undefined {
  const file = folder === "" ? "package.json" : `${folder}/package.json`;
  if (!existsSync(join(root, file))) return undefined;
  const text = readFileSync(join(root, file), "utf8");
  const data: unknown = JSON.parse(text);
  return {
    file,
    text,
    name: stringOf(data, "name"),
    version: stringOf(data, "version"),
    exports: Object.keys(recordOf(data, "exports")).map((key) => key.replace(/^\.\/?/, "")),
    imports: Object.fromEntries(
      Object.keys(recordOf(data, "imports")).map((name) => [
        name,
        stringOf(recordOf(data, "imports")[name], "plinth-source"),
      ]),
    ),
    dependencies: textsOf(data, "dependencies"),
    devDependencies: textsOf(data, "devDependencies"),
    optionalDependencies: textsOf(data, "optionalDependencies"),
    peerDependencies: textsOf(data, "peerDependencies"),
  };
}

function stringOf(data: unknown, key: string): string {
  const value = recordOf({ data }, "data")[key];
  return typeof value === "string" ? value : "";
}

function textsOf(data: unknown, key: string): Record<string, string> {
  const entries = Object.entries(recordOf(data, key));
  return Object.fromEntries(entries.map(([name, value]) => [name, String(value)]));
}

function recordOf(data: unknown, key: string): Record<string, unknown> {
  if (typeof data !== "object" || data === null || !(key in data)) return {};
  const value: unknown = Object.entries(data).find(([name]) => name === key)?.[1];
  return typeof value === "object" && value !== null ? Object.fromEntries(Object.entries(value)) : {};
}
