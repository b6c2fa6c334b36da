import { type Generated, sql } from "kysely";
import type { Database } from "../database.ts";
import type { Migration } from "../migrations/migration.ts";
import type { DatabaseOptions } from "../options.ts";
import type { PoolerMode } from "../postgres/pooler.ts";

/** A database with a schema of its own; its end drops the schema. */
export type SuiteDatabase = Database<SuiteTables> & AsyncDisposable;
/** What a suite asks for beside where the server is. */
export type SuiteDatabaseOptions = Partial<Omit<DatabaseOptions, "url" | "schema" | "pooler">>;

export interface SuiteTables {
  notes: { id: Generated<number>; text: string; stars: Generated<number>; parent: number | null };
  audit: { id: Generated<number>; what: string };
}

/** What the tests of the suite share. */
export interface SuiteContext {
  readonly pooler: PoolerMode;
  /** One database for all who need no options of their own; its tables are empty at the beginning of each test. */
  readonly db: SuiteDatabase;
  /** Another one, without those tables. */
  readonly open: (options?: SuiteDatabaseOptions) => Promise<SuiteDatabase>;
}

export type Define = (title: string, test: (context: SuiteContext) => Promise<void>) => void;

/** One table, and one that a trigger writes to without saying in which schema. */
export const suiteMigrations: readonly Migration[] = [
  {
    name: "0001_create_notes",
    up: async ({ kysely }) => {
      await kysely.schema
        .createTable("notes")
        .addColumn("id", "integer", (column) => column.primaryKey().generatedAlwaysAsIdentity())
        .addColumn("text", "text", (column) => column.notNull().unique())
        .addColumn("stars", "integer", (column) =>
          column
            .notNull()
            .defaultTo(0)
            .check(sql`stars >= 0`),
        )
        .addColumn("parent", "integer", (column) => column.references("notes.id"))
        .execute();
    },
  },
  {
    name: "0002_audit_notes",
    up: async (tx) => {
      await tx.query(sql`create table audit (id int generated always as identity, what text not null)`);
      await tx.query(sql`create function note_deleted() returns trigger language plpgsql
        as 'begin insert into audit (what) values (old.text); return null; end'`);
      await tx.query(
        sql`create trigger note_deleted after delete on notes for each row execute function note_deleted()`,
      );
    },
  },
];
