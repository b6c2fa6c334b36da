import { OptionError } from "@plinth/kernel";

/** What a schema may be called: it needs no quotes anywhere, and fits PostgreSQL's 63 bytes. */
export const schemaPattern = /^[a-z_][a-z0-9_]{0,62}$/;

const reserved = /^(pg_.*|information_schema)$/;

/**
 * Refuses a schema name that PostgreSQL reserves or that would need quotes.
 * @throws {@link OptionError} `ERR_OPTION_RANGE`, beginning with `schema`.
 */
export function requireSchemaName(name: string): void {
  if (schemaPattern.test(name) && !reserved.test(name)) return;
  throw new OptionError(
    "ERR_OPTION_RANGE",
    "invalid_argument",
    `schema must be 1 to 63 of a-z, 0-9 and _, not begin with a digit or pg_, and not be information_schema, not ${JSON.stringify(name.slice(0, 80))}`,
  );
}

/**
 * The schema of a service that names none: the app's name with `_` for each hyphen.
 * @throws {@link OptionError} `ERR_OPTION_RANGE` when that is no schema name; then set `database.schema`.
 * @example schemaNameFor("order-items") // "order_items"
 */
export function schemaNameFor(appName: string): string {
  const name = appName.replaceAll("-", "_").replace(/^(?=\d)/, "_");
  requireSchemaName(name);
  return name;
}

/** `name` as it stands in SQL text. Checked names need no quotes; they get them all the same. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
