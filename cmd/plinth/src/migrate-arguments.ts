import { didYouMean, type RunCommand } from "@plinth/kernel";
import { type Given, oneOf, UsageError } from "./usage.ts";

/** A migration to be written. */
export interface NewMigration {
  readonly kind: "new";
  /** As in a file's name. */
  readonly words: string;
  readonly folder: string;
  readonly language: "sql" | "ts";
}

const asking = ["database", "app", "json", "timeout"] as const;

export const optionsOfAction = {
  up: ["to", "dry-run", ...asking],
  down: ["to", "steps", "dry-run", ...asking],
  status: asking,
  new: ["folder", "ts"],
} as const;
type Action = keyof typeof optionsOfAction;

/** @throws {@link UsageError} */
export function actionOf(word: string | undefined): Action {
  const names = Object.keys(optionsOfAction);
  if (word !== undefined && isAction(word)) return word;
  if (word === undefined) throw new UsageError(`plinth migrate does nothing by itself; ${oneOf("take", names)}`);
  throw new UsageError(`there is no plinth migrate "${word}"${didYouMean(word, names) || `; ${oneOf("take", names)}`}`);
}

function isAction(word: string): word is Action {
  return Object.hasOwn(optionsOfAction, word);
}

/** @throws {@link UsageError} */
export function toMigrate(action: Exclude<Action, "new">, given: Given): RunCommand {
  const [to, app, subject] = ["to", "app", "database"].map((name) => nameIn(given, name));
  const steps = stepsIn(given);
  if (to !== undefined && steps !== undefined) throw new UsageError("take --to or --steps, not both");
  return {
    command: "task",
    name: "migrate",
    // what is taken back, or applied as far as one, is of one database
    single: action === "down" || to !== undefined,
    args: {
      action,
      ...(to === undefined ? {} : { to }),
      ...(steps === undefined ? {} : { steps }),
      ...(given.has("dry-run") ? { dryRun: true } : {}),
    },
    ...(app === undefined ? {} : { app }),
    ...(subject === undefined ? {} : { subject }),
    format: given.has("json") ? "json" : "text",
    answer: "ipc",
  };
}

/** @throws {@link UsageError} */
export function toNewMigration(positionals: readonly string[], given: Given): NewMigration {
  const words = positionals
    .join("_")
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "_")
    .replaceAll(/^_+|_+$/g, "");
  if (words === "" || words.length > 100) {
    throw new UsageError("plinth migrate new needs some words, up to 100 letters and digits, that say what changes");
  }
  const folder = nameIn(given, "folder") ?? "migrations";
  return { kind: "new", words, folder, language: given.has("ts") ? "ts" : "sql" };
}

function nameIn(given: Given, option: string): string | undefined {
  const value = given.get(option);
  if (given.has(option) && (value === undefined || value === "")) throw new UsageError(`--${option} takes a name`);
  return value;
}

function stepsIn(given: Given): number | undefined {
  if (!given.has("steps")) return undefined;
  const text = given.get("steps") ?? "";
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw new UsageError(`--steps takes a number, 1 or more, and was given "${text}"`);
}
