import { type ChildProcess, spawn } from "node:child_process";
import { rm } from "node:fs/promises";
import { Socket } from "node:net";
import { DatabaseError } from "../errors.ts";
import type { Account } from "./account.ts";
import type { Cluster } from "./cluster.ts";
import { readIfThere } from "./files.ts";
import { isAlive } from "./postmaster.ts";
import { spawnOptions } from "./program.ts";

/**
 * Waits until the process at the other end of its input has gone, whatever ended it, SIGKILL included. Then it gives its
 * lease back and, when no process has one any more, stops the server. It hears no Ctrl-C: services drain first.
 *
 * It says that it is closing before it looks a second time for leases, and whoever takes a lease looks afterwards for
 * somebody who is closing: so nobody joins a server that is about to be stopped.
 * Exit code 0: the server was told to stop. 3: others use it.
 */
const script = `
trap '' HUP INT TERM
leases="$1"; data="$2"; closing="$3"
: > "$leases/$$" || exit 1
echo held
read -r _
rm -f "$leases/$$"
runs() { kill -0 "$1" 2>/dev/null && ! grep -q ') Z ' "/proc/$1/stat" 2>/dev/null; }
leased() {
  for other in "$leases"/*; do
    [ -e "$other" ] || continue
    if runs "\${other##*/}"; then return 0; fi
    rm -f "$other"
  done
  return 1
}
if leased; then exit 3; fi
echo "$$" > "$closing"
if leased; then rm -f "$closing"; exit 3; fi
serves() {
  if [ -e "/proc/$1/cmdline" ]; then grep -qaF "$data" "/proc/$1/cmdline"
  else ps -o command= -p "$1" | grep -qF "$data"; fi
}
if read -r pid < "$data/postmaster.pid" && serves "$pid"; then
  kill -INT "$pid"
  waited=0
  while runs "$pid" && [ "$waited" -lt 250 ]; do sleep 0.02; waited=$((waited + 1)); done
fi 2>/dev/null
rm -f "$closing"
`;

/** A claim of this process on the server; it ends with the process at the latest. */
export interface Lease {
  /** Gives it back. True when it was the last, and the server has been told to stop. */
  release(): Promise<boolean>;
}

/** @throws {@link DatabaseError} `ERR_DATABASE_EMBEDDED` when there is no shell to run it. */
export async function takeLease(
  { leaseDir, dataDir, closingFile }: Cluster,
  account: Account | undefined,
): Promise<Lease> {
  const watch = spawn("/bin/sh", ["-c", script, "plinth-postgres-watch", leaseDir, dataDir, closingFile], {
    ...spawnOptions(account),
    detached: true,
    stdio: ["pipe", "pipe", "ignore"],
  });
  const ended = exitOf(watch);
  const held = Promise.withResolvers<true>();
  watch.stdout?.once("data", () => held.resolve(true));
  const outcome = await Promise.race([held.promise, ended]);
  if (outcome !== true) {
    throw new DatabaseError(
      "ERR_DATABASE_EMBEDDED",
      "internal",
      `the watch over the embedded PostgreSQL did not start (${outcome}); it needs /bin/sh and ${leaseDir}`,
    );
  }
  // A program that forgets to stop the server may still end; the server then ends with it.
  watch.unref();
  for (const stream of [watch.stdin, watch.stdout]) if (stream instanceof Socket) stream.unref();
  return {
    async release() {
      watch.ref();
      watch.stdin?.end();
      return (await ended) !== "exit code 3";
    },
  };
}

/** Whether somebody is about to stop the server: then wait until it has gone. */
export async function isClosing({ closingFile }: Cluster): Promise<boolean> {
  const pid = Number(await readIfThere(closingFile));
  if (!pid) return false;
  if (await isAlive(pid)) return true;
  await rm(closingFile, { force: true }); // it was killed half-way
  return false;
}

/** What its end was, in words. */
function exitOf(child: ChildProcess): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  child.once("error", (error) => resolve(error.message));
  child.once("exit", (code, signal) => resolve(code === null ? String(signal) : `exit code ${code}`));
  // Its input may break when it is killed; its end tells that.
  child.stdin?.on("error", () => {});
  return promise;
}
