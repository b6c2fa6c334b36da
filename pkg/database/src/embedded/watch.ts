import { type ChildProcess, spawn } from "node:child_process";
import { Socket } from "node:net";
import { DatabaseError } from "../errors.ts";
import type { Account } from "./account.ts";
import type { Cluster } from "./cluster.ts";
import { spawnOptions } from "./program.ts";

/**
 * Waits until the process at the other end of its input has gone, whatever ended it, SIGKILL included. Then it gives its
 * lease back and, when no process has one any more, tells the server to stop. It hears no Ctrl-C: services drain first.
 * Exit code 0: the server was told to stop. 3: others use it.
 */
const script = `
trap '' HUP INT TERM
lease="$1/$$"
: > "$lease" || exit 1
echo held
read -r _
rm -f "$lease"
for other in "$1"/*; do
  [ -e "$other" ] || continue
  holder="\${other##*/}"
  if kill -0 "$holder" 2>/dev/null && ! grep -q ') Z ' "/proc/$holder/stat" 2>/dev/null; then exit 3; fi
  rm -f "$other"
done
read -r pid < "$2/postmaster.pid" || exit 0
if [ -e "/proc/$pid/cmdline" ]; then grep -qaF "$2" "/proc/$pid/cmdline" || exit 0
else ps -o command= -p "$pid" | grep -qF "$2" || exit 0; fi
kill -INT "$pid"
`;

/** A claim of this process on the server; it ends with the process at the latest. */
export interface Lease {
  /** Gives it back. True when it was the last, and the server has been told to stop. */
  release(): Promise<boolean>;
}

/** @throws {@link DatabaseError} `ERR_DATABASE_EMBEDDED` when there is no shell to run it. */
export async function takeLease({ leaseDir, dataDir }: Cluster, account: Account | undefined): Promise<Lease> {
  const watch = spawn("/bin/sh", ["-c", script, "plinth-postgres-watch", leaseDir, dataDir], {
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

/** What its end was, in words. */
function exitOf(child: ChildProcess): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  child.once("error", (error) => resolve(error.message));
  child.once("exit", (code, signal) => resolve(code === null ? String(signal) : `exit code ${code}`));
  // Its input may break when it is killed; its end tells that.
  child.stdin?.on("error", () => {});
  return promise;
}
