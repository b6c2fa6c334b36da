import { DatabaseError } from "../errors.ts";
import { quoteIdentifier } from "../schema-name.ts";
import { Connection, type ConnectionOptions, type Statement } from "./connection.ts";

/**
 * Makes sure that the schema is there, on a connection of its own.
 * @throws {@link DatabaseError} `ERR_DATABASE_SCHEMA`, saying what to create or grant, and what {@link Connection.open} throws.
 */
export async function ensureSchema(
  options: ConnectionOptions & { readonly schema: string; readonly create: boolean },
  signals: readonly AbortSignal[],
): Promise<void> {
  const { schema, create } = options;
  await using connection = await Connection.open({ ...options, schema: undefined }, signals);
  const ask = (text: string, values: readonly unknown[] = []): Statement => ({
    text,
    values,
    operation: "SELECT",
    undone: true,
    signals,
  });
  const { rows } = await connection.execute(
    ask("select current_user as who, exists (select from pg_namespace where nspname = $1) as there", [schema]),
  );
  const who = quoteIdentifier(String(rows[0]?.who));
  const quoted = quoteIdentifier(schema);
  if (rows[0]?.there === true) return;
  if (!create) {
    const todo = `create schema ${quoted} authorization ${who}`;
    throw refused(`schema ${quoted} does not exist and createSchema is off; run: ${todo}`);
  }
  try {
    await connection.execute(ask(`create schema if not exists ${quoted}`));
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error;
    if (error.sqlState === "42501") {
      throw refused(
        `schema ${quoted} does not exist and ${who} may not create it; as its owner run: create schema ${quoted} authorization ${who}`,
        error,
      );
    }
    // Two creators at once: even with "if not exists" one of them may hear of the other.
    if (error.code !== "ERR_DATABASE_UNIQUE" && error.sqlState !== "42P06") throw error;
  }
}

function refused(message: string, cause?: DatabaseError): DatabaseError {
  return new DatabaseError("ERR_DATABASE_SCHEMA", "failed_precondition", message, { cause });
}
