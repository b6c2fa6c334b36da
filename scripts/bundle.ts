// Puts what stands behind the entries of a built package into few files: a start reads each file of it, and that takes time.
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { buildSync } from "esbuild";
import { fieldsOf } from "./fields.ts";

/**
 * Bundles the JavaScript of `dist/` in place: one file for each entry, and one for each part that entries share or that is
 * loaded only when it is needed. Other packages stay imports, declarations stay as they are, source maps lead to the sources.
 *
 * @param folder - A package with its `dist/` as the compiler has written it.
 * @returns How many files are left.
 */
export function bundlePackage(folder: string): number {
  const dist = join(folder, "dist");
  const entryPoints = entriesOf(folder).map((path) => join(folder, path));
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
    packages: "external",
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
  return outputFiles.filter(({ path }) => path.endsWith(".js")).length;
}

/** What users import or run: the files that `exports` and `bin` of the package name. */
function entriesOf(folder: string): string[] {
  const manifest: unknown = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const { exports, bin } = fieldsOf(manifest);
  const imported = Object.values(fieldsOf(exports)).map((entry) => fieldsOf(entry).default ?? entry);
  return [...imported, ...Object.values(fieldsOf(bin))].map(String).filter((path) => path.endsWith(".js"));
}
