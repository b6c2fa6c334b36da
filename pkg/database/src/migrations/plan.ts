import { OptionError } from "@plinth/kernel";
import { DatabaseError } from "../errors.ts";
import type { AppliedMigration } from "./history.ts";
import { compareNames, inOrder, type Migration } from "./migration.ts";

/**
 * `applied` · `pending` · `running`: it has no transaction, and somebody runs it now · `dirty`: it has none, and broke half way · `drifted`:
 * edited after it was applied · `missing`: applied, and not here any more · `newer`: applied by a later version of the service ·
 * `out_of_order`: not applied, though one that comes after it is.
 */
export type MigrationStatus =
  | "applied"
  | "pending"
  | "running"
  | "dirty"
  | "drifted"
  | "missing"
  | "newer"
  | "out_of_order";

export interface MigrationState {
  readonly name: string;
  readonly status: MigrationStatus;
  /** In ISO 8601 and UTC; undefined for one that is not applied. */
  readonly appliedAt?: string | undefined;
  readonly tookMs?: number | undefined;
  /** Whether it has a way down. */
  readonly reversible: boolean;
}

/** All that are given or applied, sorted by name. */
export function statesOf(
  migrations: readonly Migration[],
  applied: readonly AppliedMigration[],
): readonly MigrationState[] {
  const given = new Map(migrations.map((migration) => [migration.name, migration]));
  const rows = new Map(applied.map((row) => [row.name, row]));
  const lastGiven = inOrder(migrations).at(-1)?.name ?? "";
  const lastApplied = [...rows.keys()].toSorted(compareNames).at(-1) ?? "";
  const statusOf = (name: string): MigrationStatus => {
    const [migration, row] = [given.get(name), rows.get(name)];
    if (!row) return name < lastApplied ? "out_of_order" : "pending";
    if (row.dirty) return "dirty";
    if (!migration) return name > lastGiven ? "newer" : "missing";
    const isEdited = row.checksum !== null && migration.checksum !== undefined && row.checksum !== migration.checksum;
    return isEdited ? "drifted" : "applied";
  };
  return [...new Set([...given.keys(), ...rows.keys()])].toSorted(compareNames).map((name) => ({
    name,
    status: statusOf(name),
    appliedAt: rows.get(name)?.appliedAt,
    tookMs: rows.get(name)?.tookMs ?? undefined,
    reversible: given.get(name)?.down !== undefined,
  }));
}

/** Whether there is nothing to be done and nothing to be refused. */
export function isUpToDate(states: readonly MigrationState[]): boolean {
  return states.every(({ status }) => status === "applied" || status === "newer");
}

/**
 * The names to be applied, in order.
 * @throws {@link DatabaseError} `ERR_DATABASE_MIGRATION`, naming each one that stands against it.
 */
export function planUp(schema: string, states: readonly MigrationState[], to: string | undefined): readonly string[] {
  refuseFaulty(schema, states);
  if (to !== undefined) requireKnown(states, to);
  return states.filter(({ name, status }) => status === "pending" && (to === undefined || name <= to)).map(nameOf);
}

export interface WayDown {
  /** How many of those applied last are taken back. */
  readonly steps?: number | undefined;
  /** The one that is the last to stay. */
  readonly to?: string | undefined;
}

/**
 * The names to be taken back, the last one first.
 * @throws {@link DatabaseError} `ERR_DATABASE_MIGRATION`, naming each one that stands against it.
 */
export function planDown(schema: string, states: readonly MigrationState[], { steps, to }: WayDown): readonly string[] {
  const applied = states.filter(({ status }) => status !== "pending" && status !== "out_of_order").toReversed();
  if (to !== undefined) {
    requireKnown(states, to);
    if (!applied.some(({ name }) => name === to))
      refuse(schema, [`${to} is not applied, so nothing can be taken back down to it`]);
  }
  const back = to === undefined ? applied.slice(0, steps ?? 1) : applied.filter(({ name }) => name > to);
  refuseFaulty(schema, back);
  const newer = back.filter(({ status }) => status === "newer").map(nameOf);
  const oneWay = back.filter(({ status, reversible }) => status === "applied" && !reversible).map(nameOf);
  refuse(schema, [
    ...newer.map((name) => `${name} was applied by a later version of the service, which alone can take it back`),
    ...oneWay.map((name) => `${name} has no way down`),
  ]);
  return back.map(nameOf);
}

function refuseFaulty(schema: string, states: readonly MigrationState[]): void {
  const lastApplied = states.findLast(({ status }) => status !== "pending" && status !== "out_of_order")?.name;
  const table = `"${schema}".plinth_migrations`;
  refuse(
    schema,
    states.flatMap(({ name, status, appliedAt }) => {
      const where = `where name = '${name.replaceAll("'", "''")}'`;
      switch (status) {
        case "dirty":
          return `${name} broke half way at ${appliedAt}, outside of a transaction; look what it has left, such as an invalid index: where you finish it by hand, run then: update ${table} set dirty = false ${where}; where you undo it: delete from ${table} ${where}`;
        case "drifted":
          return `${name} was edited after it was applied; give it its old text back, and put the change into a new migration`;
        case "missing":
          return `${name} is missing: it was applied, and those given go on beyond it; give it back`;
        case "out_of_order":
          return `${name} is not applied and comes before ${lastApplied}, which is; rename it so that it comes after`;
        default:
          return [];
      }
    }),
  );
}

function refuse(schema: string, faults: readonly string[]): void {
  if (faults.length === 0) return;
  throw new DatabaseError(
    "ERR_DATABASE_MIGRATION",
    "failed_precondition",
    `the migrations of schema "${schema}" are refused, and nothing was changed: ${faults.join("; ")}`,
  );
}

function requireKnown(states: readonly MigrationState[], to: string): void {
  if (states.some(({ name }) => name === to)) return;
  const last = states.slice(-5).map(nameOf).join(", ");
  throw new OptionError(
    "ERR_OPTION_RANGE",
    "invalid_argument",
    `to: there is no migration ${JSON.stringify(to.slice(0, 200))}; the last are ${last}`,
  );
}

function nameOf({ name }: MigrationState): string {
  return name;
}
