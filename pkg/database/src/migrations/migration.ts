import { OptionError } from "@plinth/kernel";
import type { Queries } from "../queries.ts";

/** One step of a service's schema. Once it has run anywhere it is never edited: a later migration changes what it did. */
export interface Migration {
  /** Identity and order: migrations run sorted by name. Letters, digits, `_`, `-` and `.`, at most 200. */
  readonly name: string;
  /** Runs in a transaction of its own; unqualified names are in the service's schema. */
  readonly up: (tx: Queries) => Promise<unknown>;
  /** Takes it back; {@link Database.rollback} runs it. One without cannot be taken back. */
  readonly down?: (tx: Queries) => Promise<unknown>;
  /**
   * False for what PostgreSQL refuses in a transaction, such as `create index concurrently`. One that breaks half way is then
   * marked, and nothing runs until somebody has looked. Default true.
   */
  readonly transaction?: boolean;
  /**
   * Tells whether it was edited after it was applied, at most 200 characters. Of an SQL file it is made from the text. Default none: a
   * function has no text that is the same before and after a build, so that of those in TypeScript the name alone is compared.
   */
  readonly checksum?: string;
  /** Its text, where it is one, for a dry run that cannot execute it. */
  readonly sql?: { readonly up: string; readonly down?: string | undefined };
}

const namePattern = /^[A-Za-z0-9_.-]{1,200}$/;

/** @throws {@link OptionError} `ERR_OPTION_RANGE` for a name of another form or given twice, and for a checksum that is too long. */
export function checkMigrations(migrations: readonly Migration[]): void {
  const seen = new Set<string>();
  for (const { name, checksum = "none" } of migrations) {
    if (!namePattern.test(name)) refuse(name, "must be 1 to 200 letters, digits, _, - or .");
    if (seen.has(name)) refuse(name, "is given twice");
    seen.add(name);
    if (checksum.length === 0 || checksum.length > 200) refuse(name, "has a checksum that is not 1 to 200 characters");
  }
}

function refuse(name: string, problem: string): never {
  const what = `migrations: the name ${JSON.stringify(name.slice(0, 200))} ${problem}`;
  throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", what);
}

/** Sorted by name, by code unit: the same on every machine. */
export function inOrder(migrations: readonly Migration[]): readonly Migration[] {
  return migrations.toSorted((a, b) => compareNames(a.name, b.name));
}

export function compareNames(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
