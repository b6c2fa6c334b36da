// Puts what stands behind the entries of a built package into few files: a start reads each file of it, and that takes time.
import { copyFileSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type BuildOptions, buildSync } from "esbuild";
import { fieldsOf } from "./fields.ts";

/** Zod comes in ninety files, which take as long to load as all of ours: one package carries it in its own, and hands it to the others. */
const carrier = "@plinth/kernel";
const carried = "zod";

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
  const { outputFiles } = buildSync({
    entryPoints,
    outdir: dist,
    outbase: dist,
    absWorkingDir: folder,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node24",
    ...importsOf(manifest),
    chunkNames: "parts/[name]-[hash]",
    sourcemap: true,
    write: false,
    logLevel: "warning",
  });
  for (const file of globSync("**/*.js{,.map}", { cwd: dist })) rmSync(join(dist, file));
  for (const { path, contents } of outputFiles) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, contents);
  }
  if (manifest.name === carrier) {
    const source = join(folder, "../../node_modules", carried, "LICENSE");
    copyFileSync(source, join(dist, `LICENSE.${carried}`)); // which asks to go along
  }
  return outputFiles.filter(({ path }) => path.endsWith(".js")).length;
}

/** What becomes of imports of other packages. */
function importsOf(manifest: Manifest): Pick<BuildOptions, "packages" | "alias" | "external"> {
  if (manifest.name !== carrier) return { packages: "external", alias: { [carried]: carrier } };
  const { dependencies, optionalDependencies, peerDependencies } = manifest;
  const all = [dependencies, optionalDependencies, peerDependencies].flatMap((each) => Object.keys(fieldsOf(each)));
  return { external: all.filter((name) => name !== carried) };
}

/** What users import or run: the files that `exports` and `bin` of the package name. */
function entriesOf({ exports, bin }: Manifest): string[] {
  const imported = Object.values(fieldsOf(exports)).map((entry) => fieldsOf(entry).default ?? entry);
  return [...imported, ...Object.values(fieldsOf(bin))].map(String).filter((path) => path.endsWith(".js"));
}

type Manifest = Readonly<Record<string, unknown>>;

function readManifest(folder: string): Manifest {
  return fieldsOf(JSON.parse(readFileSync(join(folder, "package.json"), "utf8")));
}
