import { printable } from "../config/printable.ts";
import { messageOf } from "../errors/app-error.ts";
import { severities } from "../logger/level-table.ts";
import type { MemoryLog } from "./memory-log.ts";

const maxLines = 20;
const maxLength = 1_000;

type Line = Readonly<Record<string, unknown>>;

/**
 * What a log says of a failure, for who reads it in a test's output: the last 20 lines at level warn and above, each as
 * `warn notes.pool: no connection host="db" error="refused"`, but for those that only repeat the failure itself.
 */
export function warningsIn({ lines }: MemoryLog, failure: unknown): string[] {
  const repeated = messageOf(failure);
  return lines
    .filter((line) => isWarning(line) && errorMessageIn(line.error) !== repeated)
    .slice(-maxLines)
    .map(toText);
}

/** What has no level was written for people, and may be one. */
function isWarning({ level }: Line): boolean {
  return severityOf(level) >= severities.warn;
}

function severityOf(level: unknown): number {
  return Object.entries(severities).find(([name]) => name === level)?.[1] ?? Infinity;
}

function toText({ level, time: _time, service: _service, logger, message, ...rest }: Line): string {
  const head = [level, logger].filter((part) => typeof part === "string").join(" ");
  const fields = Object.entries(rest).map(
    ([key, value]) => ` ${key}=${JSON.stringify(errorMessageIn(value) ?? value)}`,
  );
  return printable(`${head}${head === "" ? "" : ": "}${String(message)}${fields.join("")}`, maxLength);
}

/** The message of what the logger has made of an error: its stacks are in the failure that the test shows as well. */
function errorMessageIn(value: unknown): string | undefined {
  const isError = typeof value === "object" && value !== null && "type" in value && "message" in value;
  return isError && typeof value.message === "string" ? value.message : undefined;
}
