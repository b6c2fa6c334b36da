import {
  type CompiledQuery,
  type ConnectionProvider,
  type DatabaseConnection,
  DefaultQueryExecutor,
  type KyselyPlugin,
  PostgresAdapter,
  PostgresQueryCompiler,
  type QueryExecutor,
  type QueryId,
  type QueryResult,
  type RootOperationNode,
  WithSchemaPlugin,
} from "kysely";
import type { CursorReader, ReadOptions } from "./cursor-reader.ts";
import { Lease, type LeaseSource, signalsOf } from "./lease.ts";
import { Level } from "./level.ts";

/** Where statements run: on any connection of a pool, or on the one that somebody holds. */
export interface StatementSource extends ConnectionProvider {
  run<R>(compiled: CompiledQuery, signals: readonly AbortSignal[]): Promise<QueryResult<R>>;
  open<R>(compiled: CompiledQuery, options: ReadOptions): Promise<CursorReader<R>>;
}

/** Each statement on a connection of its own, given back after it. */
export class PoolSource implements StatementSource {
  readonly #leases: LeaseSource;

  constructor(leases: LeaseSource) {
    this.#leases = leases;
  }

  async run<R>(compiled: CompiledQuery, signals: readonly AbortSignal[]): Promise<QueryResult<R>> {
    const lease = await Lease.take(this.#leases, signals);
    try {
      return await lease.run<R>(compiled, signals);
    } finally {
      lease.release();
    }
  }

  async open<R>(compiled: CompiledQuery, options: ReadOptions): Promise<CursorReader<R>> {
    const lease = await Lease.take(this.#leases, options.signals);
    try {
      return lease.read<R>(compiled, options, () => lease.release());
    } catch (error) {
      lease.release();
      throw error;
    }
  }

  async provideConnection<T>(consumer: (connection: DatabaseConnection) => Promise<T>): Promise<T> {
    const lease = await Lease.take(this.#leases, signalsOf(undefined));
    const level = new Level(lease);
    try {
      return await consumer(level);
    } finally {
      level.end();
      lease.release();
    }
  }
}

/** All on one connection. */
export class LevelSource implements StatementSource {
  readonly #level: Level;

  constructor(level: Level) {
    this.#level = level;
  }

  run<R>(compiled: CompiledQuery, signals: readonly AbortSignal[]): Promise<QueryResult<R>> {
    return this.#level.run<R>(compiled, signals);
  }

  async open<R>(compiled: CompiledQuery, options: ReadOptions): Promise<CursorReader<R>> {
    return this.#level.read<R>(compiled, options);
  }

  provideConnection<T>(consumer: (connection: DatabaseConnection) => Promise<T>): Promise<T> {
    return consumer(this.#level);
  }
}

const compiler = new PostgresQueryCompiler();
const adapter = new PostgresAdapter();

/** kysely's executor without the way through its driver, which costs several promises a statement and hides who made it from the stack. */
export class SourceExecutor extends DefaultQueryExecutor {
  readonly #source: StatementSource;
  readonly #schema: string | undefined;
  /** Apart from the plugins of others: it changes no result, so that its statements take the short way. */
  readonly #qualifier: WithSchemaPlugin | undefined;

  constructor(source: StatementSource, schema?: string, plugins: readonly KyselyPlugin[] = []) {
    super(compiler, adapter, source, [...plugins]);
    this.#source = source;
    this.#schema = schema;
    this.#qualifier = schema === undefined ? undefined : new WithSchemaPlugin(schema);
  }

  override transformQuery<T extends RootOperationNode>(node: T, queryId: QueryId): T {
    const seen = super.transformQuery(node, queryId);
    const qualified = this.#qualifier?.transformQuery({ node: seen, queryId });
    return isOfKind(qualified, seen) ? qualified : seen;
  }

  override executeQuery<R>(
    compiled: CompiledQuery,
    options?: Parameters<QueryExecutor["executeQuery"]>[1],
  ): Promise<QueryResult<R>> {
    // Its own signal means something else to kysely: its caller is told at once, with the signal's reason.
    if (options?.signal || this.plugins.length > 0) return super.executeQuery<R>(compiled, options);
    return this.#source.run<R>(compiled, signalsOf(undefined));
  }

  /** Its signals are those of whoever asks for it, wherever it is read. */
  override stream<R>(
    compiled: CompiledQuery,
    chunkSize: number,
    options?: Parameters<QueryExecutor["stream"]>[2],
  ): AsyncIterableIterator<QueryResult<R>> {
    if (this.plugins.length > 0) return super.stream<R>(compiled, chunkSize, options);
    return this.#parts<R>(compiled, { batchSize: chunkSize, signals: signalsOf(options?.signal) });
  }

  async *#parts<R>(compiled: CompiledQuery, options: ReadOptions): AsyncGenerator<QueryResult<R>, void, void> {
    const reader = await this.#source.open<R>(compiled, options);
    yield* reader.parts();
  }

  override withPlugin(plugin: KyselyPlugin): SourceExecutor {
    return new SourceExecutor(this.#source, this.#schema, [...this.plugins, plugin]);
  }

  override withPlugins(plugins: readonly KyselyPlugin[]): SourceExecutor {
    return new SourceExecutor(this.#source, this.#schema, [...this.plugins, ...plugins]);
  }

  override withPluginAtFront(plugin: KyselyPlugin): SourceExecutor {
    return new SourceExecutor(this.#source, this.#schema, [plugin, ...this.plugins]);
  }

  override withoutPlugins(): SourceExecutor {
    return new SourceExecutor(this.#source, this.#schema);
  }
}

/** A plugin of kysely gives a node of the kind that it was given, which its types do not tell. */
function isOfKind<T extends RootOperationNode>(node: RootOperationNode | undefined, given: T): node is T {
  return node?.kind === given.kind;
}
