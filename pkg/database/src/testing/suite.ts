import { after, before, describe, it } from "node:test";
import { sql } from "kysely";
import type { PoolerMode } from "../postgres/pooler.ts";
import { cancelling } from "./suite-cancel.ts";
import {
  type Define,
  type SuiteContext,
  type SuiteDatabase,
  type SuiteDatabaseOptions,
  suiteMigrations,
} from "./suite-context.ts";
import { failing } from "./suite-errors.ts";
import { migrating } from "./suite-migrations.ts";
import { pooling } from "./suite-pool.ts";
import { querying } from "./suite-queries.ts";
import { streaming } from "./suite-streams.ts";
import { transacting } from "./suite-transactions.ts";

export type { SuiteDatabase, SuiteDatabaseOptions, SuiteTables } from "./suite-context.ts";

export interface DatabaseSuiteOptions {
  /** Of the server, as it stands in the names of the tests. */
  readonly name: string;
  /** What stands before that server. Default `none`. */
  readonly pooler?: PoolerMode;
  /**
   * Opens a connected database with a schema of its own, as {@link testDatabase} does.
   * @example (options) => testDatabase({ url, pooler: "transaction", ...options })
   */
  readonly open: (options: SuiteDatabaseOptions) => Promise<SuiteDatabase>;
}

/**
 * What every database does that this package opens, as tests for `node:test`: run it against your own PostgreSQL, and whatever stands before it.
 * It needs a role that may create schemas, and up to ten connections.
 *
 * @example databaseSuite({ name: "ours", open: (options) => testDatabase({ url, ...options }) });
 */
export function databaseSuite({ name, pooler = "none", open }: DatabaseSuiteOptions): void {
  describe(`a database on ${name}`, { timeout: 120_000 }, () => {
    let db: SuiteDatabase;
    before(async () => void (db = await open({ migrations: suiteMigrations })));
    after(() => db?.[Symbol.asyncDispose]());
    const context: SuiteContext = {
      pooler,
      get db() {
        return db;
      },
      open: (options = {}) => open(options),
    };
    const define: Define = (title, test) =>
      void it(title, { timeout: 30_000 }, async () => {
        await db.query(sql`truncate notes, audit restart identity cascade`);
        await test(context);
      });
    querying(define);
    transacting(define);
    failing(define);
    cancelling(define);
    streaming(define);
    pooling(define);
    migrating(define);
  });
}
