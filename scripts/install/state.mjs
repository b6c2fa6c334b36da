// What is installed, and whether it is what package-lock.json asks for. Plain JavaScript for Node 20 and later.
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const stampPath = "node_modules/.plinth-installed";
const installedLockPath = "node_modules/.package-lock.json";
const dependencyFields = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"];

/**
 * The manifests of `root` and its workspaces, by folder ("" is the root), and a key that changes with any of them.
 *
 * @param {string} root
 */
export function readWanted(root) {
  const lockText = readFileSync(join(root, "package-lock.json"), "utf8");
  const hash = createHash("sha256").update(`${process.platform} ${process.arch}\n${lockText}`);
  const manifests = new Map();
  const add = (folder) => {
    const text = readFileSync(join(root, folder, "package.json"), "utf8");
    hash.update(`${folder}\n${text}`);
    manifests.set(folder, JSON.parse(text));
  };
  add("");
  for (const pattern of manifests.get("").workspaces ?? []) {
    for (const folder of expand(root, pattern)) add(folder);
  }
  return { manifests, packages: JSON.parse(lockText).packages, key: hash.digest("hex") };
}

/** Workspaces are named whole or as every folder of one: `examples/platform`, `pkg/*`. */
function expand(root, pattern) {
  if (!pattern.endsWith("/*")) return existsSync(join(root, pattern, "package.json")) ? [pattern] : [];
  const parent = pattern.slice(0, -2);
  if (!existsSync(join(root, parent))) return [];
  const folders = readdirSync(join(root, parent)).toSorted();
  return folders.map((name) => `${parent}/${name}`).filter((path) => existsSync(join(root, path, "package.json")));
}

/**
 * Where the manifests and the lockfile disagree, one line each; an install from such a lockfile would be refused.
 *
 * @param {ReturnType<typeof readWanted>} wanted
 */
export function findDrift({ manifests, packages }) {
  const drift = [];
  for (const [folder, manifest] of manifests) {
    const name = join(folder, "package.json");
    const locked = packages[folder];
    if (locked === undefined) drift.push(`${name} is not in package-lock.json`);
    for (const field of locked === undefined ? [] : dependencyFields) {
      const ours = manifest[field] ?? {};
      const theirs = locked[field] ?? {};
      for (const dependency of new Set([...Object.keys(ours), ...Object.keys(theirs)])) {
        if (ours[dependency] === theirs[dependency]) continue;
        drift.push(
          `${name} has ${dependency} ${ours[dependency] ?? "nowhere"} in ${field}, ` +
            `package-lock.json has ${theirs[dependency] ?? "none"}`,
        );
      }
    }
  }
  return drift;
}

/**
 * Whether the stamp of the last install fits `key` and every folder it made is still there.
 *
 * @param {string} root
 * @param {string} key
 */
export function isFresh(root, key) {
  if (readIfPresent(join(root, stampPath)) !== key) return false;
  const installed = readInstalled(root);
  return installed !== undefined && Object.keys(installed).every((folder) => existsSync(join(root, folder)));
}

/**
 * Whether what npm says it installed is what the lockfile asks for, so that an install by hand is not done twice.
 * Optional packages may be absent: most are for other platforms.
 *
 * @param {string} root
 * @param {ReturnType<typeof readWanted>} wanted
 */
export function matchesLockfile(root, { packages }) {
  const installed = readInstalled(root);
  if (installed === undefined) return false;
  return Object.entries(packages).every(([folder, locked]) => {
    if (!folder.includes("node_modules/")) return true;
    const found = installed[folder];
    if (found === undefined) return locked.optional === true;
    return (
      found.version === locked.version &&
      found.integrity === locked.integrity &&
      found.link === locked.link &&
      existsSync(join(root, folder))
    );
  });
}

export function writeStamp(root, key) {
  writeFileSync(join(root, stampPath), key);
}

export function removeStamp(root) {
  rmSync(join(root, stampPath), { force: true });
}

function readInstalled(root) {
  const text = readIfPresent(join(root, installedLockPath));
  return text === undefined ? undefined : JSON.parse(text).packages;
}

function readIfPresent(path) {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
    throw error;
  }
}
