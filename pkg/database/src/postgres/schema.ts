import { DatabaseError } from "../errors.ts";
import { quoteIdentifier } from "../schema-name.ts";
import { Connection, type ConnectionOptions, type Statement } from "./connection.ts";

export interface EnsureSchemaOptions extends ConnectionOptions {
  readonly schema: string;
  readonly create: boolean;
  /** Whether migrations will run: what they need is looked at as well. */
  readonly migrates: boolean;
}

/**
 * Makes sure that the schema is there and may be used, on a connection of its own.
 * @throws {@link DatabaseError} `ERR_DATABASE_SCHEMA`, saying what to create or grant, and what {@link Connection.open} throws.
 */
export async function ensureSchema(options: EnsureSchemaOptions, signals: readonly AbortSignal[]): Promise<void> {
  const { schema, create, migrates } = options;
  await using connection = await Connection.open({ ...options, schema: undefined }, signals);
  const ask = (text: string, values: readonly unknown[] = []): Statement => ({
    text,
    values,
    operation: "SELECT",
    undone: true,
    signals,
  });
  const { rows } = await connection.execute<Rights>(ask(rightsText, [schema]));
  const [rights] = rows;
  const who = quoteIdentifier(String(rights?.who));
  const quoted = quoteIdentifier(schema);
  if (rights?.isThere === true) {
    requireRights(rights, { who, quoted, migrates });
    return;
  }
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

interface Rights {
  readonly who: string;
  readonly isThere: boolean;
  readonly mayUse: boolean | null;
  readonly mayCreate: boolean | null;
  /** On the table of migrations; null where there is none. */
  readonly mayMigrate: boolean | null;
}

const rightsText = `select current_user as who, n.oid is not null as "isThere",
  has_schema_privilege(n.oid, 'usage') as "mayUse", has_schema_privilege(n.oid, 'create') as "mayCreate",
  has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')
    and has_table_privilege(c.oid, 'update') and has_table_privilege(c.oid, 'delete') as "mayMigrate"
  from (select) one left join pg_catalog.pg_namespace n on n.nspname = $1
  left join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = 'plinth_migrations' and c.relkind in ('r', 'p')`;

/** All that is missing at once, so that it is granted at once. */
function requireRights(
  { mayUse, mayCreate, mayMigrate }: Rights,
  { who, quoted, migrates }: { readonly who: string; readonly quoted: string; readonly migrates: boolean },
): void {
  const onSchema = [mayUse === true ? "" : "usage", migrates && mayCreate !== true ? "create" : ""].filter(Boolean);
  const grants = [
    onSchema.length > 0 ? `grant ${onSchema.join(", ")} on schema ${quoted} to ${who}` : "",
    migrates && mayMigrate === false
      ? `grant select, insert, update, delete on ${quoted}."plinth_migrations" to ${who}`
      : "",
  ].filter(Boolean);
  if (grants.length === 0) return;
  const why = mayUse === true ? `${who} may not migrate schema ${quoted}` : `schema ${quoted} is not granted to ${who}`;
  const or = mayUse === true ? ", or set migrateOnStart to false where another role applies the migrations" : "";
  throw refused(`${why}; as its owner run: ${grants.join("; ")}${or}`);
}

function refused(message: string, cause?: DatabaseError): DatabaseError {
  return new DatabaseError("ERR_DATABASE_SCHEMA", "failed_precondition", message, { cause });
}
