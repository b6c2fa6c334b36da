import { messageOf } from "@plinth/kernel";
import { DatabaseError } from "../errors.ts";
import type { Migration } from "./migration.ts";

export interface FailedStep {
  readonly schema: string;
  readonly migration: Migration;
  readonly direction: "up" | "down";
  /** Whether it has begun outside of a transaction. */
  readonly isMarked: boolean;
  /** What went well before, and stays. */
  readonly done: readonly { readonly name: string }[];
}

/** Names the migration that failed, and says what has become of it. */
export function failed(
  { schema, migration: { name }, direction, isMarked, done }: FailedStep,
  error: unknown,
): DatabaseError {
  const kept = isMarked
    ? "it has no transaction, so that what it did until then has stayed, and it is marked as dirty"
    : "and nothing of it was kept";
  const before =
    done.length === 0 ? "" : `; before it ${done.map((step) => step.name).join(", ")} went well, and stays`;
  const way = direction === "up" ? "" : " on the way down";
  return new DatabaseError(
    "ERR_DATABASE_MIGRATION",
    "failed_precondition",
    `migration ${name} of schema "${schema}" failed${way}, ${kept}${before}: ${reasonOf(error)}`,
    { cause: error },
  );
}

function reasonOf(error: unknown): string {
  const told = error instanceof DatabaseError && error.cause !== undefined ? `: ${messageOf(error.cause)}` : "";
  return `${messageOf(error)}${told}`;
}
