// Builds the packages into dist/ folders that any Node and any TypeScript can use.
// usage: npm run build [-- kernel registry]
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, globSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bundlePackage } from "./bundle.ts";
import { replaceSpecifiers } from "./layers/imports.ts";

const root = join(import.meta.dirname, "..");
const packages = ["pkg", "cmd"].flatMap((parent) => readdirSync(join(root, parent)).map((name) => `${parent}/${name}`));

const named = process.argv.slice(2).map((name) => `pkg/${name}`);
const unknown = named.filter((folder) => !packages.includes(folder));
if (unknown.length > 0) throw new Error(`there is no ${unknown.join(", no ")}`);

// Whole each time: it takes seconds, and a file that is gone from src must be gone from dist.
for (const folder of packages) rmSync(join(root, folder, "dist"), { recursive: true, force: true });
const projects = named.length === 0 ? ["tsconfig.build.json"] : named.map((folder) => `${folder}/tsconfig.build.json`);
const tsc = join(root, "node_modules/.bin/tsc");
const { status } = spawnSync(tsc, ["--build", "--force", ...projects], { cwd: root, stdio: "inherit" });
if (status !== 0) process.exit(status ?? 1);

// The compiler writes .js for .ts into code, but not into declarations.
let written = 0;
let files = 0;
for (const folder of packages.filter((path) => existsSync(join(root, path, "dist")))) {
  copyFileSync(join(root, "LICENSE"), join(root, folder, "LICENSE")); // every tarball carries its licence
  for (const file of globSync("dist/**/*.d.ts", { cwd: join(root, folder) })) {
    const path = join(root, folder, file);
    const text = readFileSync(path, "utf8");
    writeFileSync(path, replaceSpecifiers(text, toEmitted));
    written += 1;
  }
  files += bundlePackage(join(root, folder));
}
console.log(`Built ${written} modules into ${files} files.`);

function toEmitted(specifier: string): string {
  return /^\.\.?\//.test(specifier) ? specifier.replace(/\.([cm]?)ts$/, ".$1js") : specifier;
}
