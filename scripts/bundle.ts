// Puts what stands behind the entries of a built package into few files: a start reads each file of it, and that takes time.
import { copyFileSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { type BuildOptions, buildSync, type Metafile } from "esbuild";
import { fieldsOf } from "./fields.ts";

/** Zod comes in ninety files, which take as long to load as all of ours: one package carries it in its own, and hands it to the others. */
const carrier = "@plinth/kernel";
const carried = "zod";
/** Entries that are imported without the main one of their package. */
const alone: ReadonlySet<string> = new Set(["@plinth/registry/endpoints"]);

/**
 * Bundles the JavaScript of `dist/` in place: one file for each entry, and one for each part that entries share or that is
 * loaded only when it is needed. Other packages but zod stay imports, declarations stay as they are, source maps lead to the sources.
 *
 * @param folder - A package with its `dist/` as the compiler has written it.
 * @returns How many files are left.
 */
export function bundlePackage(folder: string): number {
  const dist = join(folder, "dist");
  const manifest = readManifest(folder);
  const entryPoints = entriesOf(manifest).map((path) => join(folder, path));
  const { outputFiles, metafile } = buildSync({
    ...common,
    ...importsOf(manifest),
    entryPoints,
    outdir: dist,
    outbase: dist,
    absWorkingDir: folder,
    splitting: true,
    chunkNames: "parts/[name]-[hash]",
    metafile: true,
    write: false,
  });
  for (const file of globSync("**/*.js{,.map}", { cwd: dist })) rmSync(join(dist, file));
  for (const { path, contents } of outputFiles) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, contents);
  }
  joinCore(folder, manifest, metafile);
  if (manifest.name === carrier) {
    const source = join(folder, "../../node_modules", carried, "LICENSE");
    copyFileSync(source, join(dist, `LICENSE.${carried}`)); // which asks to go along
  }
  return outputFiles.filter(({ path }) => path.endsWith(".js")).length;
}

const common = {
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node24",
  sourcemap: true,
  logLevel: "warning",
} satisfies BuildOptions;

/**
 * Puts into one file all parts that the main entry loads at once: the bundler keeps apart what another part, which is loaded
 * later, needs of them. In the place of each stays a file that hands on what it had, for those others.
 */
function joinCore(folder: string, manifest: Manifest, { outputs }: Metafile): void {
  const main = entryOf(fieldsOf(manifest.exports)["."]);
  if (main === undefined) return;
  const loadedBy = (path: string, found = new Set<string>()): Set<string> => {
    if (found.has(path)) return found;
    found.add(path);
    for (const { kind, path: next } of outputs[path]?.imports ?? []) {
      if (kind === "import-statement" && next in outputs) loadedBy(next, found);
    }
    return found;
  };
  const lonely = Object.entries(fieldsOf(manifest.exports))
    .filter(([subpath]) => alone.has(join(String(manifest.name), subpath)))
    .flatMap(([, entry]) => entryOf(entry) ?? []);
  const apart = new Set(lonely.flatMap((entry) => [...loadedBy(entry)]));
  const core = [...loadedBy(main)].filter((path) => !apart.has(path));
  const namesOf = (path: string, index: number): string[][] =>
    (outputs[path]?.exports ?? []).map((name) => [name, `${name}_${index}`]);
  const contents = core.map((path, index) => {
    const names = namesOf(path, index).map(([own, inCore]) => `${own} as ${inCore}`);
    return `export { ${names.join(", ")} } from "./${path}";\n`;
  });
  const others = Object.keys(outputs).filter((path) => !core.includes(path));
  const { external = [], ...packages } = importsOf(manifest);
  const outfile = join(folder, "dist/parts/core.js");
  buildSync({
    ...common,
    ...packages,
    external: [...external, ...others.map((path) => join(folder, path))],
    stdin: { contents: contents.join(""), resolveDir: folder },
    outfile,
  });
  for (const [index, path] of core.entries()) {
    const file = join(folder, path);
    const names = namesOf(path, index).map(([own, inCore]) => `${inCore} as ${own}`);
    const from = relative(dirname(file), outfile);
    writeFileSync(file, `export { ${names.join(", ")} } from "./${from}";\n`);
    rmSync(`${file}.map`);
  }
}

/** What becomes of imports of other packages. */
function importsOf(manifest: Manifest): Pick<BuildOptions, "packages" | "alias" | "external"> {
  if (manifest.name !== carrier) return { packages: "external", alias: { [carried]: carrier } };
  const { dependencies, optionalDependencies, peerDependencies } = manifest;
  const all = [dependencies, optionalDependencies, peerDependencies].flatMap((each) => Object.keys(fieldsOf(each)));
  return { external: all.filter((name) => name !== carried) };
}

/** What users import or run, and what threads run: the files that `exports`, `bin` and `imports` of the package name. */
function entriesOf({ exports, bin, imports }: Manifest): string[] {
  const entries = [exports, bin, imports].flatMap((named) => Object.values(fieldsOf(named)));
  return entries.flatMap((entry) => entryOf(entry) ?? []).filter((path) => path.endsWith(".js"));
}

/** `dist/index.js` of an entry of `exports`. */
function entryOf(entry: unknown): string | undefined {
  const path = fieldsOf(entry).default ?? entry;
  return typeof path === "string" ? join(path) : undefined;
}

type Manifest = Readonly<Record<string, unknown>>;

function readManifest(folder: string): Manifest {
  return fieldsOf(JSON.parse(readFileSync(join(folder, "package.json"), "utf8")));
}
