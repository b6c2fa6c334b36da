// Installs the packages of package-lock.json when they are not there yet; quick and silent when they are.
// Runs before every command, so it is plain JavaScript for Node 20: the repository's own Node is one of the packages.
// usage: node scripts/install.mjs [folder]
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { basename, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { findDrift, isFresh, matchesLockfile, readWanted, removeStamp, writeStamp } from "./install/state.mjs";
import { withLock } from "./lock.mjs";

const oldestNode = 24;
const repository = resolve(fileURLToPath(import.meta.url), "../..");
const root = resolve(process.argv[2] ?? repository);

/** A failure with its next step; anything else that is thrown is a fault of this script and keeps its stack. */
class InstallError extends Error {}

const say = (line) => process.stderr.write(`${line}\n`);

async function main() {
  const wanted = readWanted(root);
  if (isFresh(root, wanted.key)) return;
  const name = relative(repository, root).replaceAll("/", "-") || "root";
  const lockPath = join(repository, `.cache/locks/install-${name}.lock`);
  const onWait = (holder) => say(`Waiting for ${holder}, which is installing packages (${lockPath}).`);
  await withLock(lockPath, () => install(readWanted(root)), { onWait });
}

async function install(wanted) {
  if (isFresh(root, wanted.key)) return;
  const drift = findDrift(wanted);
  if (drift.length > 0) {
    throw new InstallError(
      `package.json and package-lock.json disagree:\n  ${drift.join("\n  ")}\n` +
        "Run `npm install` to bring the lockfile up to date, and commit both.",
    );
  }
  if (!matchesLockfile(root, wanted)) {
    removeStamp(root);
    const lockfile = relative(repository, join(root, "package-lock.json"));
    say(`Installing the packages of ${lockfile}, once; this can take a minute.`);
    const startedAt = Date.now();
    await runNpm();
    say(`Packages installed in ${((Date.now() - startedAt) / 1_000).toFixed(1)} s.`);
  }
  requireNode(wanted.manifests.get(""));
  writeStamp(root, wanted.key);
}

/**
 * `npm install` that saves nothing rather than `npm ci`: it installs the same locked versions, but leaves alone what is
 * already right, and does not refuse a lockfile that lacks the optional packages of some other platform.
 *
 * No install scripts: nothing here needs one, and npm 12 blocks them anyway. Errors alone are shown: what npm warns about
 * under an older Node (EBADENGINE) is moot, because the commands run on the Node that this very install brings.
 */
function runNpm() {
  const options = [
    "install",
    "--no-save",
    "--ignore-scripts",
    "--include=dev",
    "--include=optional",
    "--prefer-offline",
  ];
  const quiet = ["--loglevel=error", "--no-fund", "--no-audit", "--no-progress"];
  const { command, prefix } = findNpm();
  return new Promise((done, fail) => {
    // npm's summary is dropped and its errors go to stderr: stdout belongs to the command that comes after.
    const child = spawn(command, [...prefix, ...options, ...quiet], { cwd: root, stdio: ["ignore", "ignore", 2] });
    child.once("error", (error) => fail(new InstallError(`cannot run ${command}: ${error.message}; is npm on PATH?`)));
    child.once("exit", (code, signal) => {
      if (code === 0) return done();
      fail(
        new InstallError(
          `\`npm install\` in ${root} ${signal === null ? `exited with code ${code}` : `was ended by ${signal}`}; ` +
            "its own words are above.\nIt needs the npm registry, or a full npm cache, and room on the disk. Then run the same command again.",
        ),
      );
    });
  });
}

/** The npm that runs us, on the Node that runs it; that Node is never one of the packages being replaced. */
function findNpm() {
  const { npm_execpath: cli, npm_node_execpath: node } = process.env;
  const known = cli !== undefined && node !== undefined && basename(cli) === "npm-cli.js";
  return known ? { command: node, prefix: [cli] } : { command: "npm", prefix: [] };
}

/** The packages bring a Node for Linux and for Macs with Apple silicon; elsewhere the one on PATH must be new enough. */
function requireNode(manifest) {
  if (Object.keys(manifest.optionalDependencies ?? {}).every((name) => !name.startsWith("node-"))) return;
  const own = join(root, "node_modules/.bin/node");
  const node = existsSync(own) ? own : "node";
  const { stdout, error } = spawnSync(node, ["--version"], { encoding: "utf8" });
  const version = stdout?.trim() ?? "";
  if (Number(version.slice(1).split(".")[0]) >= oldestNode) return;
  throw new InstallError(
    node === own
      ? `${own} does not run on this machine (${error?.message ?? `it answered "${version}"`}); delete node_modules and try again`
      : `there is no packaged Node for ${process.platform} ${process.arch}, or it could not be fetched; ` +
          `install Node ${oldestNode} or later (found ${version || "none"}) or delete node_modules and try again`,
  );
}

try {
  await main();
} catch (error) {
  if (!(error instanceof InstallError)) throw error;
  say(`Packages could not be installed: ${error.message}`);
  process.exitCode = 1;
}
