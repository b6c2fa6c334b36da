import { execFile } from "node:child_process";
import { cp, mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Lab } from "../harness/lab.ts";
import type { Launch } from "../harness/pinned-process.ts";

const root = join(import.meta.dirname, "../..");
const run = promisify(execFile);
const compilerOptions = ["--ignoreConfig", "--noCheck", "--target", "es2024", "--module", "nodenext"];

/** A program of the project by its file's name without the ending, with what it needs from the environment. */
export type ProjectProgram = (name: string, env: Readonly<Record<string, string>>) => Launch;

/**
 * A project as a user has it in production: our packages built and in `node_modules` with what they stand on, the programs of
 * a folder as plain JavaScript, nothing of the repository's export condition.
 */
export async function publishedProject(lab: Lab, folder: string): Promise<ProjectProgram> {
  const directory = await lab.directory();
  await run(process.execPath, [join(root, "scripts/build.ts")], { cwd: root });
  await installPackages(join(directory, "node_modules"));
  await writeFile(join(directory, "package.json"), JSON.stringify({ type: "module", private: true }));
  const sources = (await readdir(folder)).map((file) => join(folder, file));
  const tsc = join(root, "node_modules/.bin/tsc");
  await run(tsc, [...compilerOptions, "--rootDir", folder, "--outDir", directory, ...sources], { cwd: root });
  return (name, env) => ({
    name,
    bin: process.execPath,
    args: [join(directory, `${name}.js`)],
    env: { NODE_ENV: "production", ...env },
  });
}

async function installPackages(modules: string): Promise<void> {
  await mkdir(join(modules, "@plinth"), { recursive: true });
  for (const name of await readdir(join(root, "node_modules"))) {
    if (name !== "@plinth" && name !== ".bin") await symlink(join(root, "node_modules", name), join(modules, name));
  }
  for (const name of await readdir(join(root, "pkg"))) {
    for (const part of ["package.json", "dist"]) {
      await cp(join(root, "pkg", name, part), join(modules, "@plinth", name, part), { recursive: true });
    }
  }
}
