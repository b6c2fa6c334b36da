// A lock between processes: a file that names its holder. Plain JavaScript, because it runs before packages are installed.
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

const pollMs = 100;
const heartbeatMs = 5_000;
// A holder that has not touched its file for this long is gone, even where its process id cannot be looked up.
const staleMs = 60_000;

/**
 * Runs `work` while no other process holds the lock at `path`; a second one waits for the first.
 *
 * A lock whose holder has died is taken over, so a killed process blocks nobody.
 *
 * @template T
 * @param {string} path - The lock file; its folder is made when missing.
 * @param {() => Promise<T>} work
 * @param {{ onWait?: (holder: string) => void }} [options] - `onWait` is told once, with who holds it.
 * @returns {Promise<T>}
 */
export async function withLock(path, work, { onWait } = {}) {
  mkdirSync(dirname(path), { recursive: true });
  const mine = `${path}.${process.pid}.${Date.now()}.${Math.random().toString(36).slice(2)}`;
  writeFileSync(mine, JSON.stringify({ pid: process.pid, host: hostname() }));
  const release = () => rmSync(path, { force: true });
  let told = false;
  try {
    while (!take(path, mine)) {
      if (!told) onWait?.(describe(path));
      told = true;
      await delay(pollMs);
    }
  } finally {
    rmSync(mine, { force: true });
  }
  const heartbeat = setInterval(() => touch(path), heartbeatMs);
  process.once("exit", release);
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    process.removeListener("exit", release);
    release();
  }
}

/** Linking an existing file into place either makes the lock or fails: nobody ever reads a half-written one. */
function take(path, mine) {
  if (tryLink(mine, path)) return true;
  if (!isStale(path)) return false;
  // Only one process may clear a dead lock, or two would each remove what the other had just taken.
  const clearing = `${path}.clearing`;
  if (!tryLink(mine, clearing)) {
    if (isStale(clearing)) rmSync(clearing, { force: true });
    return false;
  }
  try {
    if (!isStale(path)) return false;
    renameSync(path, `${mine}.dead`);
    rmSync(`${mine}.dead`, { force: true });
    return tryLink(mine, path);
  } finally {
    rmSync(clearing, { force: true });
  }
}

function tryLink(from, to) {
  try {
    linkSync(from, to);
    touch(to);
    return true;
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  }
}

function isStale(path) {
  const holder = readHolder(path);
  if (holder === undefined) return false;
  if (Date.now() - holder.touchedMs > staleMs) return true;
  return holder.host === hostname() && !isAlive(holder.pid);
}

/** The holder's process and when it last said it lives; undefined when the lock has just been released. */
function readHolder(path) {
  try {
    return { ...JSON.parse(readFileSync(path, "utf8")), touchedMs: statSync(path).mtimeMs };
  } catch (error) {
    if (error.code === "ENOENT") return undefined;
    throw new Error(`${path} is no lock file of ours; remove it and try again`, { cause: error });
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

function describe(path) {
  const holder = readHolder(path);
  return holder === undefined ? "a process that has just finished" : `process ${holder.pid} on ${holder.host}`;
}

function touch(path) {
  const now = new Date();
  try {
    utimesSync(path, now, now);
  } catch (error) {
    // Somebody removed the lock by hand; the work goes on, there is only nothing left to keep fresh.
    if (error.code !== "ENOENT") throw error;
  }
}
