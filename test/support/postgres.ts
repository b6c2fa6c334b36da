// The PostgreSQL of the distribution, shared by all tests that run at the same time, as the embedded one is.
import { dirname, join } from "node:path";
import type { Account } from "../../pkg/database/src/embedded/account.ts";
import type { EmbeddedPostgres } from "../../pkg/database/src/embedded/index.ts";
import { startPostgres } from "../../pkg/database/src/embedded/start.ts";
import { findServer } from "../../scripts/servers/index.ts";
import { reachableBy } from "./reachable.ts";

const sharedDataDir = join(import.meta.dirname, "../../.cache/postgres-15-test");

/**
 * Starts PostgreSQL 15 on a free port of 127.0.0.1, or joins the one that runs, without fsync. It stops with the last who uses it.
 *
 * @param dataDir - Give one for a server of your own. Default: the one that all tests share.
 */
export function startPostgres15(dataDir = sharedDataDir): Promise<EmbeddedPostgres> {
  return startPostgres({ dataDir, fsync: false }, async (account: Account | undefined) => {
    const { bin, env } = await reachableBy(account, await findServer("postgres"));
    return { postgres: bin, initdb: join(dirname(bin), "initdb"), majorVersion: "15", env };
  });
}
