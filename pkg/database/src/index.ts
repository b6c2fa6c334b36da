export { type ConnectionUse, type Database, openDatabase } from "./database.ts";
export { DatabaseError, type DatabaseErrorCode, type ServerFacts } from "./errors.ts";
export type { Migration } from "./migrations/migration.ts";
export type { MigrationState, MigrationStatus } from "./migrations/plan.ts";
export { readMigrations } from "./migrations/read-migrations.ts";
export type { MigrateOptions, MigrationStep, RollbackOptions } from "./migrations/runner.ts";
export { type DatabaseServer, type DatabaseTokens, defineDatabase } from "./define-database.ts";
export { database, databaseModule, databaseServer, migrations, provideMigrations } from "./module.ts";
export { databaseDefaults, type DatabaseLimits, type DatabaseOptions } from "./options.ts";
export type { PasswordRequest, PasswordSource } from "./postgres/credentials.ts";
export type { Lookup } from "./postgres/names.ts";
export type { PoolStats } from "./postgres/pool.ts";
export type { DatabaseTlsOptions } from "./postgres/tls.ts";
export type { NoTables, Queries, QueryOptions, QueryRows, StreamOptions } from "./queries.ts";
export type { PoolerMode } from "./postgres/pooler.ts";
export { schemaNameFor } from "./schema-name.ts";
export { databaseSettings } from "./settings.ts";
export type { TransactionOptions } from "./transaction.ts";
export {
  type ColumnType,
  type Generated,
  type Insertable,
  type Kysely,
  type Selectable,
  sql,
  type Updateable,
} from "kysely";
