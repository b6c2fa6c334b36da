import { inspect } from "node:util";
import { isRecord, valueAt } from "./data.ts";
import type { Declared } from "./declared.ts";
import type { Leaf } from "./leaves.ts";
import { printable } from "./printable.ts";
import { Secret } from "./secret.ts";
import { isReloadable } from "./settings.ts";
import type { Snapshot } from "./snapshot.ts";

/** One effective value of the config, and where it comes from. */
export interface ConfigEntry {
  /** Dotted path: `http.port`. */
  readonly key: string;
  /** Plain data that JSON can hold; `***` for a secret, undefined for a key that is not set and has no default. */
  readonly value: unknown;
  /** `config.yaml:12`, `PLINTH_HTTP_PORT`, `--http.port`, …; `default` for what the schema says. */
  readonly source: string;
  /** Who else gave a value, the nearest to winning first. */
  readonly overridden: readonly { readonly source: string }[];
  readonly isSecret: boolean;
  /** Whether it may change while the app runs. */
  readonly isReloadable: boolean;
  readonly description?: string;
}

/** Every value by section, in the order of the schema's keys. */
export function explainSnapshot(
  { sections, leaves }: Declared,
  { values, given, provenance }: Snapshot,
): ConfigEntry[] {
  const entriesOf = (path: readonly string[], value: unknown, leaf: Leaf | undefined): ConfigEntry[] => {
    const isSecret = leaf?.isSecret ?? value instanceof Secret;
    // each entry of a map may come from elsewhere
    if (!isSecret && isRecord(value) && Object.keys(value).length > 0) {
      return Object.entries(value).flatMap(([key, child]) => entriesOf([...path, key], child, leaf));
    }
    const key = path.join(".");
    const settings = sections.get(path[0] ?? "");
    const description = leaf?.schema.description;
    const entry: ConfigEntry = {
      key,
      value: value === undefined ? undefined : isSecret ? "***" : toPlain(value),
      source: provenance.sourceAt(key),
      overridden: provenance.overriddenAt(key).map((source) => ({ source })),
      isSecret,
      isReloadable: settings !== undefined && isReloadable(settings, path[1]),
      ...(typeof description === "string" ? { description } : {}),
    };
    return [entry];
  };
  return [...sections.keys()].toSorted().flatMap((section) => {
    const own = leaves.filter(({ path }) => path[0] === section);
    if (own.length === 0) return entriesOf([section], values.get(section), undefined);
    return own.flatMap((leaf) => {
      const path = leaf.path.slice(1);
      // what a schema has renamed is shown as it was given
      return entriesOf(leaf.path, valueAt(values.get(section), path) ?? valueAt(given[section], path), leaf);
    });
  });
}

const maxShown = 60;

/** The entries as a table for a terminal: key, value, source, and what there is to say. */
export function renderExplanation(entries: readonly ConfigEntry[]): string {
  const rows = entries.map(({ key, value, source, overridden, isReloadable: reloadable }) => [
    printable(key, 200),
    value === undefined ? "-" : printable(JSON.stringify(value), maxShown),
    printable(source, 200),
    [
      overridden.length > 0 && `over ${overridden.map((lost) => printable(lost.source, 200)).join(", ")}`,
      reloadable && "reloadable",
    ]
      .filter(Boolean)
      .join("; "),
  ]);
  const table = [["key", "value", "source", ""], ...rows];
  const widths = [0, 1, 2].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  return table
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}

/** As JSON would hold it, with words for what JSON has none for. */
function toPlain(value: unknown): unknown {
  if (value instanceof Secret) return "***";
  if (Array.isArray(value)) return value.map(toPlain);
  if (isRecord(value)) return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, toPlain(child)]));
  if (typeof value === "object" && value !== null && !(value instanceof Date) && !(value instanceof URL)) {
    return value instanceof RegExp ? String(value) : inspect(value, { depth: 1, breakLength: Infinity });
  }
  if (value instanceof Date && Number.isNaN(value.getTime())) return "Invalid Date";
  if (value instanceof Date || value instanceof URL) return value.toJSON();
  return typeof value === "object" || isJsonScalar(value) ? value : inspect(value);
}

function isJsonScalar(value: unknown): boolean {
  return typeof value === "number" ? Number.isFinite(value) : ["string", "boolean"].includes(typeof value);
}
