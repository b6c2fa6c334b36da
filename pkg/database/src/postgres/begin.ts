import { currentContext, OptionError } from "@plinth/kernel";
import type { IsolationLevel } from "kysely";

export interface BeginOptions {
  readonly isolation?: IsolationLevel | undefined;
  readonly accessMode?: "read only" | "read write" | undefined;
  /** What holds for each transaction of this connection, as {@link scopeText}; empty where the session has it. */
  readonly scope: string;
  /** How long the statements of the transaction may take by then; undefined for the limit of the session or the scope. */
  readonly statementTimeoutMs: number | undefined;
}

/** All that there is: the text of a begin is written, not sent as a value. */
const isolationLevels: ReadonlySet<string> = new Set([
  "read uncommitted",
  "read committed",
  "repeatable read",
  "serializable",
]);
const accessModes: ReadonlySet<string> = new Set(["read only", "read write"]);

/**
 * What opens a transaction: one message, so that a deadline costs no round trip.
 * @throws {@link OptionError} `ERR_OPTION_RANGE`, beginning with the option's name.
 */
export function beginText({ isolation, accessMode, scope, statementTimeoutMs }: BeginOptions): string {
  if (isolation !== undefined) requireOneOf("isolation", isolation, isolationLevels);
  if (accessMode !== undefined) requireOneOf("accessMode", accessMode, accessModes);
  let text = isolation === undefined ? "begin" : `begin isolation level ${isolation}`;
  if (accessMode !== undefined) text += ` ${accessMode}`;
  if (scope !== "") text += `; ${scope}`;
  if (statementTimeoutMs !== undefined) text += `; set local statement_timeout = ${statementTimeoutMs}`;
  return text;
}

function requireOneOf(name: string, given: string, known: ReadonlySet<string>): void {
  if (known.has(given)) return;
  const message = `${name} must be one of ${[...known].join(", ")}, not ${JSON.stringify(given).slice(0, 80)}`;
  throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", message);
}

/**
 * What the request being served has left, where that is less than a statement may take anyhow: then the server ends it even when this process
 * can no longer ask it to.
 *
 * @param limitMs - What a statement may take, in milliseconds; 0 for no limit.
 * @param nowMs - Of the monotonic clock.
 * @returns Whole milliseconds, 1 or more.
 */
export function shorterTimeoutMs(limitMs: number, nowMs: number): number | undefined {
  const deadlineAtMs = currentContext()?.deadlineAtMs;
  if (deadlineAtMs === undefined) return undefined;
  const leftMs = Math.max(1, Math.ceil(deadlineAtMs - nowMs));
  return leftMs < maxTimeoutMs && (limitMs === 0 || leftMs < limitMs) ? leftMs : undefined;
}

/** What the server takes. */
const maxTimeoutMs = 2_147_483_647;
