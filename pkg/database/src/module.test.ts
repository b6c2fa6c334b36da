import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import {
  coreModule,
  createApp,
  defineModule,
  health,
  metrics,
  provider,
  token,
  spanSinks,
  type SpanSink,
  tracing,
} from "@plinth/kernel";
import { testApp } from "@plinth/kernel/testing";
import type { EmbeddedPostgres } from "./embedded/index.ts";
import {
  type Database,
  database,
  databaseModule,
  type Migration,
  openDatabase,
  provideMigrations,
  sql,
} from "./index.ts";
import { startTestPostgres } from "./testing/index.ts";
import { until } from "./testing/until.ts";

interface NotesTables {
  notes: { id: number; text: string };
}

const createNotes: Migration = {
  name: "0001_create_notes",
  up: async ({ kysely }) => {
    await kysely.schema.createTable("notes").addColumn("id", "integer").addColumn("text", "text").execute();
  },
};

class NoteStore {
  readonly #db: Database<NotesTables>;
  constructor(db: Database<NotesTables>) {
    this.#db = db;
  }
  async add(id: number, text: string): Promise<void> {
    await this.#db.kysely.insertInto("notes").values({ id, text }).execute();
  }
  count(): Promise<number> {
    return this.#db.transaction(async (tx) => (await tx.kysely.selectFrom("notes").selectAll().execute()).length);
  }
}

const notes = token("notes").of<NoteStore>();
const notesModule = defineModule("notes", [
  provideMigrations([createNotes]),
  provider({
    provides: notes,
    needs: { db: database },
    create: ({ db }) => new NoteStore(db.withTables<NotesTables>()),
    start: (store) => store.add(0, "from start"), // only works when the migrations have run before
  }),
]);

interface RecordedSpan {
  readonly name: string;
  readonly kind: number;
  readonly attributes: Record<string, unknown>;
  readonly parent: string | undefined;
  readonly id: string;
  failed: boolean;
}

interface FakeContext {
  readonly parent?: { spanContext(): { readonly spanId: string } };
}

/** As much of OpenTelemetry's API, and of a provider, as the kernel's tracing calls. */
const api = {
  ROOT_CONTEXT: {},
  SpanKind: { INTERNAL: 0, SERVER: 1, CLIENT: 2, PRODUCER: 3, CONSUMER: 4 },
  SpanStatusCode: { ERROR: 2 },
  TraceFlags: { NONE: 0, SAMPLED: 1 },
  trace: { setSpan: (_: FakeContext, parent: FakeContext["parent"]) => ({ parent }) },
};

function recordingTracer(): { readonly spans: RecordedSpan[]; readonly sink: SpanSink } {
  const spans: RecordedSpan[] = [];
  const getTracer = () => ({
    startSpan(name: string, options: { kind: number; attributes: object }, context: FakeContext) {
      const id = (spans.length + 1).toString(16).padStart(16, "0");
      const span: RecordedSpan = {
        name,
        id,
        kind: options.kind,
        attributes: { ...options.attributes },
        parent: context.parent?.spanContext().spanId,
        failed: false,
      };
      spans.push(span);
      return {
        spanContext: () => ({ traceId: "1".repeat(32), spanId: id, traceFlags: 1 }),
        setAttribute: (key: string, value: unknown) => void (span.attributes[key] = value),
        setStatus: () => void (span.failed = true),
        recordException: () => {},
        updateName: () => {},
        end: () => {},
      };
    },
  });
  return { spans, sink: { api, getTracer, isSampled: () => true, useTraceId: () => {} } as unknown as SpanSink };
}

describe("databaseModule", { timeout: 30_000 }, () => {
  let server: EmbeddedPostgres;
  before(async () => void (server = await startTestPostgres()));
  after(() => server.stop());

  async function dropSchema(schema: string): Promise<void> {
    const db = openDatabase({ url: server.url, schema });
    await db.query(sql`drop schema ${sql.id(schema)} cascade`);
    await db.close();
  }

  it("gives an app its pool, schema, migrations, health check, metrics and spans", async () => {
    const { spans, sink } = recordingTracer();
    const name = `module-test-${process.pid}`;
    const schema = name.replaceAll("-", "_");
    const app = await testApp({
      name,
      modules: [
        coreModule,
        databaseModule,
        notesModule,
        defineModule("trace", [provider({ provides: spanSinks, create: () => sink })]),
      ],
      expose: [notes, database],
      config: { environment: { PLINTH_DATABASE_URL: server.url, PLINTH_DATABASE_MAX_CONNECTIONS: "3" } },
    });
    const store = app.get(notes);
    spans.length = 0;
    await app
      .get(tracing)
      .withSpan("GET /notes", {}, async () => assert.equal(await store.count(), 1), { kind: "server" });

    assert.equal(app.get(database).schema, schema);
    assert.equal(app.get(database).stats().maxConnections, 3);
    assert.deepEqual(
      spans.map((span) => [span.name, span.parent]),
      [
        ["GET /notes", undefined],
        ["BEGIN", spans[0]?.id],
        ["SELECT notes", spans[0]?.id],
        ["COMMIT", spans[0]?.id],
      ],
    );
    const { port } = new URL(server.url);
    assert.deepEqual(spans[2]?.attributes, {
      "db.system.name": "postgresql",
      "db.namespace": `postgres|${schema}`,
      "db.operation.name": "SELECT",
      "db.collection.name": "notes",
      "db.query.summary": "SELECT notes",
      "db.query.text": 'select * from "notes"',
      "server.address": "127.0.0.1",
      "server.port": Number(port),
    });
    await assert.rejects(app.get(database).query(sql`select ${"secret"}::int`));
    const failed = spans.at(-1);
    assert.equal(failed?.failed, true);
    assert.equal(failed?.attributes["db.response.status_code"], "22P02");
    assert.equal(failed?.attributes["error.type"], "22P02");

    const report = await app.get(health).readiness();
    assert.partialDeepStrictEqual(report, { ready: true, checks: [{ name: "database", status: "pass" }] });
    const { body } = await app.get(metrics).expose();
    assert.match(body, /database_query_duration_seconds_count\{database="main",operation="INSERT",outcome="ok"\} 1/);
    assert.match(body, /database_pool_max_connections\{database="main"\} 3/);
    assert.equal(app.logged.withMessage("migrations applied").length, 1);
    assert.doesNotMatch(JSON.stringify(app.logged.lines), new RegExp(new URL(server.url).password));
    await app.stop();
    await dropSchema(schema);
  });

  it("turns readiness off while the server refuses, and on again", async () => {
    const name = `health-test-${process.pid}`;
    const schema = name.replaceAll("-", "_");
    const app = await testApp({
      name,
      modules: [coreModule, databaseModule],
      expose: [database],
      config: { environment: { PLINTH_DATABASE_URL: server.url }, overrides: { database: { checkIntervalMs: 10 } } },
    });
    const ready = async (): Promise<boolean> => (await app.get(health).readiness()).ready;
    assert.equal(await ready(), true);
    await dropSchema(schema);
    const admin = openDatabase({ url: server.url, schema: `${schema}_admin` });
    await admin.connect();
    await admin.query(
      sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name like ${`${name}%`}`,
    );
    await until(async () => !(await ready()));
    const [line] = app.logged.withMessage("health check failed");
    assert.equal(line?.check, "database");
    await admin.query(sql`create schema ${sql.id(schema)}`);
    await until(ready);
    await admin.close();
    await app.stop();
    await dropSchema(schema);
    await dropSchema(`${schema}_admin`);
  });

  it("fails the start, naming what failed", async () => {
    const start = async (environment: Record<string, string>, ...more: Migration[]): Promise<string> => {
      const name = `start-test-${process.pid}`;
      const extra = defineModule("extra", [provideMigrations(more)]);
      const app = createApp({
        name,
        modules: [coreModule, databaseModule, extra],
        config: { environment },
        logDestination: { write: () => {} },
      });
      return app.start().then(
        () => "started",
        (error: Error) => error.message,
      );
    };
    assert.match(await start({}), /database\.url: .*expected the URL of a PostgreSQL, or `embedded: true`/);
    assert.match(
      await start({ PLINTH_DATABASE_URL: "postgres://u:hunter2@127.0.0.1:1/x", PLINTH_DATABASE_CONNECT_WAIT_MS: "0" }),
      /at 127\.0\.0\.1:1: .*ECONNREFUSED/,
    );
    assert.match(await start({ PLINTH_DATABASE_URL: server.url, PLINTH_DATABASE_SCHEMA: "pg_x" }), /schema must be/);
    const wrong = await start({ PLINTH_DATABASE_URL: "hunter2", PLINTH_DATABASE_MAX_CONNECTIONS: "0" });
    assert.match(wrong, /database\.maxConnections/);
    assert.doesNotMatch(wrong, /hunter2/);
    const broken: Migration = { name: "0001_broken", up: () => Promise.reject(new Error("no")) };
    assert.match(await start({ PLINTH_DATABASE_URL: server.url }, broken), /migration 0001_broken/);
    await dropSchema(`start_test_${process.pid}`);
  });

  it("starts a PostgreSQL of its own when it is embedded, and stops it", async () => {
    const folder = await mkdtemp(join(tmpdir(), "plinth-module-"));
    const app = await testApp({
      name: "notes",
      modules: [coreModule, databaseModule, notesModule],
      expose: [notes],
      config: { defaults: { database: { embedded: true, embeddedDataDir: folder } } },
    });
    assert.equal(await app.get(notes).count(), 1);
    const [line] = app.logged.withMessage("embedded PostgreSQL started");
    assert.ok(Number(line?.port) > 0);
    await app.stop();
    await rm(folder, { recursive: true });
    await rm(join(String(line?.dataDir), ".."), { recursive: true, force: true });
  });

  it("opens, uses and closes a database 20 times without leaving a socket or timer", async () => {
    const schema = `leak_test_${process.pid}`;
    const resources = (): string =>
      JSON.stringify(process.getActiveResourcesInfo().filter((name) => /TCP|Timeout/.test(name)));
    const beforeAll = resources();
    for (let round = 0; round < 20; round++) {
      const db = openDatabase({ url: server.url, schema });
      await db.connect();
      await db.health();
      await db.close();
    }
    await dropSchema(schema);
    await until(() => resources() === beforeAll);
  });
});
