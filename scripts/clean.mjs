// Removes what a build or a test run made. Packages and fetched servers stay; `--all` removes those too.
import { readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(fileURLToPath(import.meta.url), "../..");
const workspaces = ["pkg", "cmd"].flatMap((parent) =>
  readdirSync(join(root, parent)).map((name) => join(root, parent, name)),
);
const built = ["dist", "coverage", ...workspaces.map((folder) => join(folder, "dist"))];
const fetched = [".cache", "test/node24/node_modules", "node_modules"];
for (const path of process.argv.includes("--all") ? [...built, ...fetched] : built) {
  rmSync(resolve(root, path), { recursive: true, force: true });
}
