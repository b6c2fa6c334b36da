import { spawn } from "node:child_process";
import { open, rm, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { systemClock } from "@plinth/kernel";
import { DatabaseError } from "../errors.ts";
import { Connection } from "../postgres/connection.ts";
import { Hosts } from "../postgres/hosts.ts";
import type { Account } from "./account.ts";
import type { Binaries } from "./binaries.ts";
import type { Cluster } from "./cluster.ts";
import { findPostmaster } from "./postmaster.ts";
import { spawnOptions } from "./program.ts";
import { isClosing } from "./watch.ts";

export interface Launch {
  readonly cluster: Cluster;
  readonly binaries: Binaries;
  readonly account: Account | undefined;
  /** 0 takes any free port. */
  readonly port: number;
  readonly fsync: boolean;
  readonly signal: AbortSignal;
}

const pollMs = 10;
const maxLogBytes = 4_194_304;
/** What a start takes between making its pid file and writing its number, on a machine with other things to do. */
const lockGraceMs = 1_000;

/**
 * What ends a start that a moment later would succeed: another start at the same time, or a server that is still going down, which
 * removes its pid file between the moment when this one finds it and the moment when this one would.
 */
export const passing =
  /lock file .* (?:already exists|is empty)|could not (?:open|read|remove old) lock file|bogus data in lock file|pre-existing shared memory block|could not (?:bind|create any)|Address already in use/;

export function urlOf({ password }: Cluster, port: number): string {
  return `postgres://postgres:${encodeURIComponent(password)}@127.0.0.1:${port}/postgres`;
}

/**
 * The port of a server that answers on this cluster: the one that runs already, or one started now.
 * Started twice at once, one server wins and both get its port.
 *
 * @throws {@link DatabaseError} `ERR_DATABASE_EMBEDDED` with the end of the server's log; the signal's reason.
 */
export async function launch(options: Launch): Promise<{ readonly port: number; readonly started: boolean }> {
  const { cluster, signal } = options;
  for (let started = false; ;) {
    signal.throwIfAborted();
    if (await isClosing(cluster)) {
      await delay(pollMs);
      continue;
    }
    const running = await findPostmaster(cluster.dataDir);
    if (running?.ready && (await answers(cluster, running.port))) return { port: running.port, started };
    if (!running) started = await startServer(options);
    else await delay(pollMs);
  }
}

/** True when the server is ready; false when it gave way to another one. */
async function startServer({ cluster, binaries, account, port, fsync, signal }: Launch): Promise<boolean> {
  const { dataDir, logFile } = cluster;
  const log = await open(logFile, (await sizeOf(logFile)) > maxLogBytes ? "w" : "a+", 0o600);
  const logStart = (await log.stat()).size;
  const chosenPort = port === 0 ? await freePort() : port;
  const settings = {
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    port: chosenPort,
    ...(fsync ? {} : { fsync: "off", synchronous_commit: "off", full_page_writes: "off" }),
  };
  const args = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  // In a process group of its own: Ctrl-C is for the services, which stop the server after they have drained.
  const child = spawn(binaries.postgres, ["-D", dataDir, ...args], {
    ...spawnOptions(account, binaries.env),
    detached: true,
    stdio: ["ignore", log.fd, log.fd],
  });
  child.unref();
  const life: { end?: string } = {};
  child.once("error", (error) => (life.end = error.message));
  child.once("exit", (code, killedBy) => (life.end = code === null ? String(killedBy) : `exit code ${code}`));
  try {
    while (life.end === undefined) {
      if (signal.aborted) child.kill("SIGINT");
      const running = await findPostmaster(dataDir);
      if (running?.pid === child.pid && running?.ready) return true;
      await delay(pollMs);
    }
    const { buffer, bytesRead } = await log.read({ position: logStart });
    const text = buffer.toString("utf8", 0, bytesRead).trim();
    signal.throwIfAborted();
    if (passing.test(text) && (port === 0 || !/could not bind/.test(text))) {
      if (/lock file/.test(text)) await removeStaleLock(dataDir);
      await delay(pollMs);
      return false;
    }
    throw new DatabaseError(
      "ERR_DATABASE_EMBEDDED",
      "failed_precondition",
      `the embedded PostgreSQL did not start on port ${chosenPort} (${life.end}); ${logFile} says: ${text.slice(-2_000)}`,
    );
  } finally {
    await log.close();
  }
}

/**
 * Removes a pid file with the number of a killed server that some other process has by now, or with none: the server cannot tell,
 * and would never start. A young one is another start that has not written all of it.
 */
async function removeStaleLock(dataDir: string): Promise<void> {
  const file = join(dataDir, "postmaster.pid");
  if (await findPostmaster(dataDir)) return;
  const ageMs = await stat(file).then(
    ({ mtimeMs }) => Date.now() - mtimeMs,
    () => 0,
  );
  if (ageMs > lockGraceMs) await rm(file, { force: true });
}

async function answers(cluster: Cluster, port: number): Promise<boolean> {
  try {
    const connection = await Connection.open({
      server: new Hosts({ url: urlOf(cluster, port), connectTimeoutMs: 2_000, clock: systemClock }),
      schema: undefined,
      applicationName: "plinth embedded",
      pooler: "none",
      statementTimeoutMs: 2_000,
      idleInTransactionTimeoutMs: 0,
      clock: systemClock,
    });
    await connection.close();
    return true;
  } catch (error) {
    if (error instanceof DatabaseError && error.code === "ERR_DATABASE_UNAVAILABLE") return false;
    throw error;
  }
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}

async function freePort(): Promise<number> {
  const probe = createServer();
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  probe.once("error", reject);
  probe.listen(0, "127.0.0.1", () => {
    const address = probe.address();
    probe.close(() => resolve(typeof address === "object" && address ? address.port : 0));
  });
  return promise;
}
