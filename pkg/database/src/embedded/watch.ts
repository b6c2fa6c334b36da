import { type ChildProcess, spawn } from "node:child_process";
import { readdir, rm } from "node:fs/promises";
import { Socket } from "node:net";
import { join } from "node:path";
import { DatabaseError } from "../errors.ts";
import type { Account } from "./account.ts";
import type { Cluster } from "./cluster.ts";
import { commandOf } from "./postmaster.ts";
import { spawnOptions } from "./program.ts";

const killLimitMs = 2_000;
const pollMs = 20;

/**
 * Waits until the process at the other end of its input has gone, whatever ended it, SIGKILL included. Then it gives its
 * lease back and, when no process has one any more, stops the server. It hears no Ctrl-C: services drain first.
 *
 * It says that it is closing before it looks a second time for leases, and whoever takes a lease looks afterwards for
 * somebody who is closing: so nobody joins a server that is about to be stopped, and none is started before it has gone.
 * What is signalled is the one process that was found then, told by its number and its beginning; never its successor.
 * Exit code 0: the server was stopped, or there was none. 3: others use it. 4: it did not stop, and was killed.
 */
const script = `
trap '' HUP INT TERM
leases="$1"; data="$2"; closings="$3"; stop_polls="$4"
: > "$leases/$$" || exit 1
echo held
read -r _
rm -f "$leases/$$"
born() {
  if [ -e /proc/self/stat ]; then
    read -r fields < "/proc/$1/stat" && set -- \${fields##*) } && [ "$1" != Z ] && echo "\${20}"
  else
    case "$(ps -o stat= -p "$1")" in ''|Z*) ;; *) ps -o lstart= -p "$1" ;; esac
  fi
} 2>/dev/null
says() {
  if [ -e /proc/self/cmdline ]; then tr '\\0' ' ' < "/proc/$1/cmdline"; else ps -o command= -p "$1"; fi | grep -qF "$2"
} 2>/dev/null
leased() {
  for other in "$leases"/*; do
    [ -e "$other" ] || continue
    if says "\${other##*/}" "$leases"; then return 0; fi
    rm -f "$other"
  done
  return 1
}
if leased; then exit 3; fi
closing="$closings/$$"
: > "$closing"
if leased; then rm -f "$closing"; exit 3; fi
runs() { [ -n "$since" ] && [ "$(born "$pid")" = "$since" ]; }
wait_until_gone() {
  polls="$1"
  while runs && [ "$polls" -gt 0 ]; do sleep ${pollMs / 1e3}; polls=$((polls - 1)); done
}
outcome=0
if [ -e "$data/postmaster.pid" ] && read -r pid < "$data/postmaster.pid"; then
  since="$(born "$pid")"
  if says "$pid" "postgres -D $data" && runs; then
    kill -INT "$pid"
    wait_until_gone "$stop_polls"
    if runs; then kill -KILL "$pid"; outcome=4; wait_until_gone ${killLimitMs / pollMs}; fi
  fi
fi 2>/dev/null
rm -f "$closing"
exit "$outcome"
`;

/** What a watch has done at its end, by its exit code. */
const outcomes: ReadonlyMap<string, ReleaseOutcome> = new Map([
  ["exit code 0", "stopped"],
  ["exit code 3", "shared"],
  ["exit code 4", "killed"],
]);

/** `shared`: others use the server, and it runs on. `killed`: it did not stop in time. */
type ReleaseOutcome = "stopped" | "shared" | "killed";

/** A claim of this process on the server; it ends with the process at the latest. */
export interface Lease {
  /** Gives it back; when it was the last, the server has gone when this resolves. */
  release(): Promise<ReleaseOutcome>;
}

/** @throws {@link DatabaseError} `ERR_DATABASE_EMBEDDED` when there is no shell to run it. */
export async function takeLease(cluster: Cluster, account: Account | undefined, stopTimeoutMs: number): Promise<Lease> {
  const { leaseDir, dataDir, closingDir } = cluster;
  const args = [leaseDir, dataDir, closingDir, String(Math.ceil(stopTimeoutMs / pollMs))];
  const watch = spawn("/bin/sh", ["-c", script, "plinth-postgres-watch", ...args], {
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
      // One that was killed has not looked whether others use the server: another one does.
      return outcomes.get(await ended) ?? (await takeLease(cluster, account, stopTimeoutMs)).release();
    },
  };
}

/** Whether somebody is about to stop the server: then wait until it has gone. */
export async function isClosing({ closingDir }: Cluster): Promise<boolean> {
  for (const pid of await readdir(closingDir)) {
    if ((await commandOf(Number(pid))).includes(closingDir)) return true;
    await rm(join(closingDir, pid), { force: true }); // it was killed half-way
  }
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
