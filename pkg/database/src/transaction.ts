import { backoffDelayMs, currentContext, OptionError, requireWhole, sleep } from "@plinth/kernel";
import { DatabaseError } from "./errors.ts";
import { onAnyAbort } from "./postgres/abort.ts";
import { Lease, type LeaseSource, signalsOf } from "./postgres/lease.ts";
import { Level } from "./postgres/level.ts";
import { cancelledBy } from "./postgres/sqlstate.ts";

export interface TransactionOptions {
  /** Default: the server's, which is `read committed`. Not for a nested one. */
  readonly isolation?: "read committed" | "repeatable read" | "serializable";
  /** Default false. Not for a nested one. */
  readonly readOnly?: boolean;
  /**
   * How often the whole callback is run again, in a new transaction, when it met another one (`ERR_DATABASE_CONFLICT`: a serialization failure, a
   * deadlock, a lock that could not be had); 0 to 100. What it does beside the database is done again too. Waits in between grow from 10 ms to
   * 1 s, with full jitter, and end with the request. Never after an outcome that is unknown. Default 0. Not for a nested one.
   */
  readonly retries?: number;
  /** Cancels what runs in the transaction, and rolls it back, whatever its callback waits for. */
  readonly signal?: AbortSignal;
  /** Who it is, for messages and figures of the pool; from a small fixed set. Default: the route or method being served. */
  readonly label?: string;
}

const retryWait = Object.freeze({ baseDelayMs: 10, maxDelayMs: 1_000 });
const maxRetries = 100;

/**
 * Runs `fn` in a transaction on a connection of its own, again when it met another one and that is allowed.
 * @throws what `fn` throws; {@link DatabaseError}; {@link OptionError} `ERR_OPTION_RANGE`.
 */
export async function transact<T>(
  source: LeaseSource,
  fn: (level: Level) => Promise<T>,
  options: TransactionOptions,
): Promise<T> {
  const { retries = 0, label } = options;
  if (retries !== 0) requireWhole("retries", retries, { min: 0, max: maxRetries });
  const signals = signalsOf(undefined);
  for (let attempt = 1; ; attempt++) {
    const lease = await Lease.take(source, signals, label);
    try {
      return await runOn(new Level(lease), signals, fn, options);
    } catch (error) {
      if (attempt > retries || !isConflict(error)) throw error;
    } finally {
      lease.release();
    }
    await pause(source, attempt);
    source.observer.retried();
  }
}

/**
 * Runs `fn` in a transaction on the connection of `outer`, or in a savepoint where that is in a transaction already.
 * @throws as {@link transact}; `ERR_DATABASE_BUSY`, `ERR_DATABASE_CLOSED`
 */
export async function transactOn<T>(
  outer: Level,
  fn: (level: Level) => Promise<T>,
  options: TransactionOptions,
): Promise<T> {
  refuse(options, outer.lease.inTransaction ? ["isolation", "readOnly", "retries"] : ["retries"]);
  const signals = signalsOf(undefined);
  const level = outer.enter();
  try {
    return outer.lease.inTransaction ? await nest(level, signals, fn) : await runOn(level, signals, fn, options);
  } finally {
    level.leave();
  }
}

async function runOn<T>(
  level: Level,
  signals: readonly AbortSignal[],
  fn: (level: Level) => Promise<T>,
  { isolation, readOnly }: TransactionOptions,
): Promise<T> {
  const { lease } = level;
  await lease.begin({ isolation, accessMode: readOnly ? "read only" : undefined }, signals);
  try {
    const result = await untilAborted(() => fn(level), signals);
    level.complete();
    await lease.commit(signals);
    return result;
  } catch (error) {
    level.end();
    await lease.rollback();
    throw error;
  }
}

async function nest<T>(level: Level, signals: readonly AbortSignal[], fn: (level: Level) => Promise<T>): Promise<T> {
  const { lease, depth } = level;
  const name = `plinth_${depth}`;
  await lease.savepoint("savepoint", name, signals);
  try {
    const result = await untilAborted(() => fn(level), signals);
    level.complete();
    await lease.releaseSavepoint(name);
    return result;
  } catch (error) {
    level.end();
    // Its savepoint went with the transaction, and the connection may be somebody else's by now.
    if (!level.isAbandoned) await lease.rollbackToSavepoint(name);
    throw error;
  }
}

/** What `work` comes to, unless a signal aborts before: then nobody waits for it any more, since it may wait for anything. */
async function untilAborted<T>(work: () => Promise<T>, signals: readonly AbortSignal[]): Promise<T> {
  if (signals.length === 0) return work();
  const { promise, resolve } = Promise.withResolvers<Aborted>();
  const forget = onAnyAbort(signals, (reason) => resolve(new Aborted(reason)));
  try {
    const first = await Promise.race([work(), promise]);
    if (first instanceof Aborted) throw cancelledBy(first.reason);
    return first;
  } finally {
    forget();
  }
}

class Aborted {
  readonly reason: unknown;

  constructor(reason: unknown) {
    this.reason = reason;
  }
}

/** @throws {@link DatabaseError} `ERR_DATABASE_CANCELLED` */
async function pause({ observer }: LeaseSource, attempt: number): Promise<void> {
  const signal = currentContext()?.signal;
  try {
    await sleep(observer.clock, backoffDelayMs(attempt, retryWait), { signal });
  } catch (error) {
    throw cancelledBy(error);
  }
}

/** Also one that the callback has wrapped; an outcome that is unknown ends the search. */
function isConflict(error: unknown): boolean {
  let seen = error;
  for (let depth = 0; depth < 10 && seen instanceof Error; depth++) {
    if (seen instanceof DatabaseError) return seen.code === "ERR_DATABASE_CONFLICT";
    seen = seen.cause;
  }
  return false;
}

function refuse(options: TransactionOptions, names: readonly (keyof TransactionOptions)[]): void {
  const given = names.find((name) => options[name] !== undefined);
  if (given === undefined) return;
  throw new OptionError(
    "ERR_OPTION_RANGE",
    "invalid_argument",
    `${given} is for the outermost transaction; give it where that begins`,
  );
}
