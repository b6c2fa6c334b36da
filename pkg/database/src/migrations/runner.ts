import { type Clock, requireWhole, runInContext } from "@plinth/kernel";
import { type Dialect, Kysely, sql } from "kysely";
import { DatabaseError } from "../errors.ts";
import { queriesOf } from "../queries.ts";
import { ensureHistory, formOfHistory, noteApplied, noteUndone, readHistory } from "./history.ts";
import { failed } from "./failure.ts";
import { hasLock, isLocked, underLock } from "./lock.ts";
import { checkMigrations, type Migration } from "./migration.ts";
import { isUpToDate, type MigrationState, planDown, planUp, statesOf, type WayDown } from "./plan.ts";
import { rehearse } from "./rehearsal.ts";
import type { StatementTap } from "./statement-tap.ts";

/** One migration that was applied or taken back, or would be. */
export interface MigrationStep {
  readonly name: string;
  readonly direction: "up" | "down";
  /** How long it took, in whole milliseconds; undefined where it was not run. */
  readonly tookMs?: number;
  /** Of a dry run: the statements, without values. Those of one that could not be run are its text, if it is an SQL file. */
  readonly statements?: readonly string[];
}

export interface MigrateOptions {
  /** The last one to apply. Default: the last there is. */
  readonly to?: string | undefined;
  /** Runs them in one transaction that is rolled back, and tells their statements. Default false. */
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface RollbackOptions extends WayDown {
  /** As in {@link MigrateOptions}. */
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface RunnerOptions {
  /** On sessions of their own, two at most, whose schema is not set. */
  readonly kysely: Kysely<unknown>;
  readonly schema: string;
  readonly migrations: readonly Migration[];
  readonly lockTimeoutMs: number;
  /** False where each transaction may have another session, as behind a pooler. */
  readonly hasSession: boolean;
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
  readonly onWait: (holder: string) => void;
  /** Told of those that a later version of the service has applied. */
  readonly onNewer: (names: readonly string[]) => void;
  /** Hears of each statement that is sent. */
  readonly tap: StatementTap;
}

type Db = Kysely<unknown>;

/** What runs migrations on these sessions. */
export function runnerOn(dialect: Dialect, options: Omit<RunnerOptions, "kysely">): RunnerOptions {
  return { ...options, kysely: new Kysely<unknown>({ dialect }) };
}

/**
 * Applies what has not been applied, one after the other, each under the lock: of several processes one does it, and the others find it done.
 * @throws {@link DatabaseError} `ERR_DATABASE_MIGRATION`, `ERR_DATABASE_MIGRATION_LOCK`; {@link OptionError} for `to`.
 */
export function migrateUp(options: RunnerOptions, { to, dryRun }: MigrateOptions): Promise<readonly MigrationStep[]> {
  const plan = (states: readonly MigrationState[]) => planUp(options.schema, states, to);
  return run(options, "up", plan, { dryRun, once: false });
}

/**
 * Takes back what was applied last, each under the lock.
 * @throws As {@link migrateUp}; {@link OptionError} for `steps`.
 */
export async function migrateDown(
  options: RunnerOptions,
  { steps, to, dryRun }: RollbackOptions,
): Promise<readonly MigrationStep[]> {
  if (steps !== undefined) requireWhole("steps", steps, { min: 1 });
  const plan = (states: readonly MigrationState[]) => planDown(options.schema, states, { steps, to });
  return run(options, "down", plan, { dryRun, once: true });
}

/** What is applied and what is not. Nothing is changed, and no lock is waited for. */
export async function readStates({ kysely, schema, migrations }: RunnerOptions): Promise<readonly MigrationState[]> {
  checkMigrations(migrations);
  const states = statesOf(migrations, await readHistory(kysely, schema));
  if (!states.some(({ status }) => status === "dirty") || !(await isLocked(kysely, schema))) return states;
  return states.map((state) => (state.status === "dirty" ? { ...state, status: "running" } : state));
}

type Plan = (states: readonly MigrationState[]) => readonly string[];

async function run(
  options: RunnerOptions,
  direction: "up" | "down",
  plan: Plan,
  { dryRun = false, once }: { readonly dryRun?: boolean | undefined; readonly once: boolean },
): Promise<readonly MigrationStep[]> {
  const { kysely, schema, migrations, signal, onNewer } = options;
  checkMigrations(migrations);
  const states = async (db: Db): Promise<readonly MigrationState[]> =>
    statesOf(migrations, await readHistory(db, schema));
  const find = (name: string): Migration => {
    const found = migrations.find((migration) => migration.name === name);
    if (found) return found;
    throw new Error(`there is no migration ${name}`); // a plan holds none
  };
  return runInContext(signal ? { signal } : {}, async () => {
    const seen = await states(kysely);
    const newer = seen.filter(({ status }) => status === "newer").map(({ name }) => name);
    if (newer.length > 0 && direction === "up") onNewer(newer);
    // without the lock: instances that start together, with nothing to do, do not wait for each other
    if (isUpToDate(seen) && plan(seen).length === 0) return [];
    if (dryRun) {
      return underLock(options, async (tx) =>
        rehearse({ ...options, direction, migrations: plan(await states(tx)).map(find) }, tx),
      );
    }
    if ((await formOfHistory(kysely, schema)) !== "present") {
      await underLock(options, (tx) => ensureHistory(tx, schema));
    }
    const done: MigrationStep[] = [];
    // the way down is fixed at its beginning: each step makes the next one the last
    let fixed: readonly string[] | undefined;
    for (;;) {
      const step = await underLock(options, async (tx): Promise<MigrationStep | undefined> => {
        const names = plan(await states(tx));
        if (once) fixed ??= names;
        const [name] = fixed === undefined ? names : fixed.slice(done.length);
        if (name === undefined) return undefined;
        const migration = find(name);
        const tookMs = await runOne(options, migration, direction, tx, done);
        return { name, direction, tookMs };
      });
      if (!step) return done;
      done.push(step);
    }
  });
}

async function runOne(
  options: RunnerOptions,
  migration: Migration,
  direction: "up" | "down",
  tx: Db,
  done: readonly MigrationStep[],
): Promise<number> {
  const { schema, clock } = options;
  const startedAtMs = clock.monotonicMs();
  const tookMs = (): number => Math.round(clock.monotonicMs() - startedAtMs);
  const mark = { isSet: false };
  try {
    if (migration.transaction === false) await runOutside(options, migration, direction, tookMs, mark);
    else {
      await migration[direction]?.(queriesOf(tx));
      await requireLock(tx, schema);
      if (direction === "up") await noteApplied(tx, schema, migration, { tookMs: tookMs(), dirty: false });
      else await noteUndone(tx, schema, migration.name);
    }
  } catch (error) {
    throw failed({ schema, migration, direction, done, isMarked: mark.isSet }, error);
  }
  return tookMs();
}

/** On a second session, while the first holds the lock; marked as begun before, so that a crash half way is seen. */
async function runOutside(
  { kysely, schema, hasSession }: RunnerOptions,
  migration: Migration,
  direction: "up" | "down",
  tookMs: () => number,
  mark: { isSet: boolean },
): Promise<void> {
  const { name } = migration;
  await kysely.connection().execute(async (session) => {
    await prepareSession(session, schema, hasSession);
    mark.isSet = true;
    await noteApplied(session, schema, migration, { dirty: true });
    await migration[direction]?.(queriesOf(session));
    if (direction === "up") await noteApplied(session, schema, migration, { tookMs: tookMs(), dirty: false });
    else await noteUndone(session, schema, name);
  });
}

async function prepareSession(session: Db, schema: string, hasSession: boolean): Promise<void> {
  if (hasSession) {
    await sql`
      select set_config(name, '0', false) from pg_catalog.pg_settings
        where name in ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')
      union all select set_config('search_path', quote_ident(${schema}), false)`.execute(session);
  }
  const { rows } = await sql<{ schema: string | null }>`select current_schema() as schema`.execute(session);
  if (rows[0]?.schema === schema) return;
  throw new DatabaseError(
    "ERR_DATABASE_UNSUPPORTED",
    "unimplemented",
    `without a transaction a pooler in mode "transaction" keeps no schema; run this migration with a url past the pooler, or first: alter role current_user set search_path = ${schema}`,
  );
}

async function requireLock(tx: Db, schema: string): Promise<void> {
  if (await hasLock(tx, schema)) return;
  throw new Error(
    "it has ended the transaction that it ran in, by a commit or rollback of its own: what it did until then may have stayed, and is not recorded",
  );
}
