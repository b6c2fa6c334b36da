import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { type AppError, AppError as Errors, type Status } from "@plinth/kernel";

/** One thing that a contract says, as a test of any runner: `for (const { name, run } of cases) it(name, run)`. */
export interface ContractCase {
  /** A sentence about behaviour. */
  readonly name: string;
  /** Rejects when it does not hold. Cases share a service, and use names of their own in it. */
  readonly run: () => Promise<void>;
}

/** @throws unless it fails with this code, and the status that the contract gives it; what it failed with else. */
export async function failsWith(
  work: Promise<unknown>,
  code: string,
  errors: readonly { readonly code: string; readonly status: Status }[],
): Promise<AppError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => Errors.from(thrown),
  );
  assert.ok(error, `it did not fail, with ${code} or otherwise`);
  const status = errors.find((known) => known.code === code)?.status ?? "invalid_argument";
  assert.deepEqual({ code: error.code, status: error.status }, { code, status }, error.stack ?? error.message);
  return error;
}

/** A name that nobody has used: lower-case letters and digits, a letter first. */
export function freshName(prefix = "t"): string {
  return `${prefix}${randomUUID().replaceAll("-", "").slice(0, 16)}`;
}

/** All that an iterable gives, up to 1_000. */
export async function allOf<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) if (all.push(item) === 1_000) break;
  return all;
}
