import {
  type ColumnMetadata,
  type DatabaseIntrospector,
  type Kysely,
  PostgresIntrospector,
  sql,
  type TableMetadata,
} from "kysely";

/**
 * What kysely, and its migrations above all, ask of the catalog: tables of the service's own schema alone. kysely's own query looks at
 * those of all services on the server, and fails when one of them is dropped meanwhile.
 */
export class OwnSchemaIntrospector extends PostgresIntrospector implements DatabaseIntrospector {
  readonly #db: Kysely<unknown>;

  constructor(db: Kysely<unknown>) {
    super(db);
    this.#db = db;
  }

  override async getTables(
    { withInternalKyselyTables } = { withInternalKyselyTables: false },
  ): Promise<TableMetadata[]> {
    const { rows } = await ownColumns.execute(this.#db);
    const tables = new Map<string, TableMetadata & { readonly columns: ColumnMetadata[] }>();
    for (const { table, kind, schema, ...column } of rows) {
      if (!withInternalKyselyTables && internal.has(table)) continue;
      const known = tables.get(table) ?? {
        name: table,
        schema,
        isView: kind === "v",
        isForeign: kind === "f",
        columns: [],
      };
      tables.set(table, known);
      const { comment, ...described } = column;
      known.columns.push({ ...described, ...(comment === null ? {} : { comment }) });
    }
    return [...tables.values()];
  }
}

const internal: ReadonlySet<string> = new Set(["plinth_migrations"]);

type OwnColumn = Omit<ColumnMetadata, "comment"> & {
  readonly comment: string | null;
  readonly table: string;
  readonly schema: string;
  readonly kind: string;
};

// Nothing in it names a table or a schema of others: such functions fail when it has just gone.
const ownColumns = sql<OwnColumn>`
  select c.relname as "table", c.relkind as kind, current_schema() as schema,
    a.attname as name, typ.typname as "dataType", dtns.nspname as "dataTypeSchema",
    not a.attnotnull as "isNullable", a.atthasdef as "hasDefaultValue", col_description(a.attrelid, a.attnum) as comment,
    a.attidentity <> '' or coalesce(pg_get_expr(d.adbin, d.adrelid), '') like 'nextval(%' as "isAutoIncrementing"
  from pg_catalog.pg_class c
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  join pg_catalog.pg_type typ on typ.oid = a.atttypid
  join pg_catalog.pg_namespace dtns on dtns.oid = typ.typnamespace
  left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = current_schema())
    and c.relkind in ('r', 'v', 'p', 'f')
  order by c.relname, a.attnum`;
