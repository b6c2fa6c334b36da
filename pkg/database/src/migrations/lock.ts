import { createHash } from "node:crypto";
import { type Clock, messageOf, sleep } from "@plinth/kernel";
import { type Kysely, sql } from "kysely";
import { DatabaseError } from "../errors.ts";

export interface LockOptions {
  readonly kysely: Kysely<unknown>;
  readonly schema: string;
  /** How long it may take to get it, in milliseconds, 0 or more. */
  readonly lockTimeoutMs: number;
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
  /** Told once, when somebody else has it. */
  readonly onWait: (holder: string) => void;
}

type Db = Kysely<unknown>;

/** Of the waits between two attempts, in milliseconds. */
const waitsMs = { first: 20, longest: 500 };

/**
 * Runs `fn` in a transaction that holds the lock for the migrations of this schema: nothing is left of it when the transaction ends, however
 * it ends, and a pooler that gives each transaction another connection does no harm.
 *
 * It is tried for again and again, never waited for in a statement: a session that waits in one holds a snapshot, for which
 * `create index concurrently` of the one who has the lock would wait in turn, for ever.
 *
 * @throws {@link DatabaseError} `ERR_DATABASE_MIGRATION_LOCK`, saying who holds it; `ERR_DATABASE_CANCELLED`; what `fn` throws.
 */
export async function underLock<T>(options: LockOptions, fn: (tx: Db) => Promise<T>): Promise<T> {
  const { kysely, schema, lockTimeoutMs, clock, signal, onWait } = options;
  const startedAtMs = clock.monotonicMs();
  for (let waitMs = waitsMs.first, told = false; ; waitMs = Math.min(waitMs * 2, waitsMs.longest)) {
    const attempt = await kysely
      .transaction()
      .setIsolationLevel("read committed")
      .setAccessMode("read write")
      .execute(async (tx): Promise<{ readonly value: T } | { readonly holder: string }> => {
        if (!(await tryLock(tx, schema))) return { holder: await holderOf(tx, schema) };
        await prepareTransaction(tx, schema);
        return { value: await fn(tx) };
      });
    if ("value" in attempt) return attempt.value;
    const { holder } = attempt;
    if (!told) onWait(holder);
    told = true;
    const waitedMs = clock.monotonicMs() - startedAtMs;
    if (waitedMs >= lockTimeoutMs) {
      throw new DatabaseError(
        "ERR_DATABASE_MIGRATION_LOCK",
        "unavailable",
        `the migrations of schema "${schema}" did not begin within ${lockTimeoutMs} ms: ${holder}; wait for it, end it, or raise migrationLockTimeoutMs`,
      );
    }
    try {
      await sleep(clock, Math.min(waitMs * (0.5 + Math.random() / 2), lockTimeoutMs - waitedMs), { signal });
    } catch (cause) {
      throw new DatabaseError(
        "ERR_DATABASE_CANCELLED",
        "cancelled",
        `cancelled while ${holder} (${messageOf(signal?.reason)})`,
        { cause },
      );
    }
  }
}

/** Whether somebody has the lock now. */
export async function isLocked(db: Db, schema: string): Promise<boolean> {
  return (await holdersOf(db, schema)).length > 0;
}

/** Whether this transaction has it still: not when a statement in between has ended the transaction that took it. */
export async function hasLock(tx: Db, schema: string): Promise<boolean> {
  const { rows } = await sql<{ own: number }>`select pg_backend_pid() as own`.execute(tx);
  return (await holdersOf(tx, schema)).some(({ pid }) => pid === rows[0]?.own);
}

/** No limits, since a change of a large table takes its time; but the server looks whether we are still there. */
async function prepareTransaction(tx: Db, schema: string): Promise<void> {
  await sql`
    select set_config(name, '0', true) from pg_catalog.pg_settings
      where name in ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')
    union all select set_config('search_path', quote_ident(${schema}), true)
    union all select set_config(name, '2000', true) from pg_catalog.pg_settings
      where name = 'client_connection_check_interval' and version() ~* 'linux|darwin|apple'`.execute(tx);
}

async function tryLock(tx: Db, schema: string): Promise<boolean> {
  const { high, low } = keyOf(schema);
  const { rows } = await sql<{ got: boolean }>`
    select pg_try_advisory_xact_lock((${high}::bigint << 32) | ${low}::bigint) as got`.execute(tx);
  return rows[0]?.got === true;
}

interface Holder {
  readonly pid: number;
  readonly application: string | null;
  readonly since: string | null;
}

async function holderOf(tx: Db, schema: string): Promise<string> {
  const [holder] = await holdersOf(tx, schema);
  if (!holder) return "somebody else was at them until now";
  const { pid, application, since } = holder;
  const who = application === null || application === "" ? "" : ` of ${application}`;
  return `the session with pid ${pid}${who} is at them${since === null ? "" : ` since ${since}`}`;
}

async function holdersOf(db: Db, schema: string): Promise<readonly Holder[]> {
  const { high, low } = keyOf(schema);
  const { rows } = await sql<Holder>`
    select l.pid, a.application_name as application,
      to_char(a.xact_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as since
    from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
    where l.locktype = 'advisory' and l.granted and l.objsubid = 1
      and l.classid::bigint = ${high}::bigint and l.objid::bigint = ${low}::bigint
      and l.database = (select oid from pg_catalog.pg_database where datname = current_database())`.execute(db);
  return rows;
}

/** The halves of a 64-bit number that nobody else is likely to lock, one for each schema. */
function keyOf(schema: string): { readonly high: number; readonly low: number } {
  const digest = createHash("sha256").update(`plinth_migrations ${schema}`).digest();
  return { high: digest.readUInt32BE(0), low: digest.readUInt32BE(4) };
}
