import { resolve } from "node:path";
import { type Logger, requireWhole } from "@plinth/kernel";
import { type Account, serverAccount } from "./account.ts";
import type { Binaries } from "./binaries.ts";
import { openCluster } from "./cluster.ts";
import { launch, urlOf } from "./launch.ts";
import { type Lease, takeLease } from "./watch.ts";

export interface EmbeddedPostgresOptions {
  /** Folder that stands for the data, made when absent; delete it for a fresh start. Relative to the working directory. */
  readonly dataDir: string;
  /** On 127.0.0.1, 1 to 65_535; 0 takes a free one. A server that runs already keeps its port. Default 0. */
  readonly port?: number;
  /** False is faster and loses data when the machine goes down: for tests. Default true. */
  readonly fsync?: boolean;
  /** For the server to end its sessions and write what was committed, in milliseconds, 1 or more; then it is killed, and its next start replays its log. Default 10_000. */
  readonly stopTimeoutMs?: number;
  readonly log?: Logger;
  /** Cancels the start. */
  readonly signal?: AbortSignal;
}

export interface EmbeddedPostgres {
  /** With the password, as superuser `postgres`, to the database `postgres`. */
  readonly url: string;
  /** False when it ran already: another process, or another app of this one, had started it. */
  readonly started: boolean;
  /** Stops the server when nobody else uses it. Safe to call twice. */
  stop(): Promise<void>;
}

/** Beyond it a start has failed: the longest part is the first start on a slow disk. */
const startLimitMs = 60_000;

/**
 * Starts, or joins, a server on a folder, with the programs that `find` gives for its account.
 * @throws {@link DatabaseError} `ERR_DATABASE_EMBEDDED`; {@link OptionError} `ERR_OPTION_RANGE`, beginning with the option's name.
 */
export async function startPostgres(
  options: EmbeddedPostgresOptions,
  find: (account: Account | undefined) => Promise<Binaries>,
): Promise<EmbeddedPostgres> {
  const { dataDir, port = 0, fsync = true, stopTimeoutMs = 10_000, log } = options;
  requireWhole("port", port, { min: 0, max: 65_535 });
  requireWhole("stopTimeoutMs", stopTimeoutMs, { min: 1 });
  const limit = AbortSignal.timeout(startLimitMs);
  const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
  const startedAtMs = performance.now();
  const account = await serverAccount();
  const binaries = await find(account);
  const cluster = await openCluster(resolve(dataDir), account, binaries, fsync);
  const lease = await takeLease(cluster, account, stopTimeoutMs);
  try {
    const { port: actualPort, started } = await launch({ cluster, binaries, account, port, fsync, signal });
    const tookMs = Math.round(performance.now() - startedAtMs);
    log?.info(started ? "embedded PostgreSQL started" : "embedded PostgreSQL joined", {
      port: actualPort,
      tookMs,
      dataDir: cluster.dataDir,
    });
    let stopping: Promise<void> | undefined;
    return {
      url: urlOf(cluster, actualPort),
      started,
      stop: () => (stopping ??= release(lease, log)),
    };
  } catch (error) {
    await release(lease, log);
    throw error;
  }
}

async function release(lease: Lease, log: Logger | undefined): Promise<void> {
  const outcome = await lease.release();
  if (outcome === "killed") log?.warn("embedded PostgreSQL did not stop and was killed");
}
