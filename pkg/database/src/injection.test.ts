// Every public way in that a text of somebody else's could take into SQL.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createTracing, type Span, type Tracing } from "@plinth/kernel";
import { type RawBuilder, sql } from "kysely";
import { type Database, openDatabase } from "./database.ts";
import type { EmbeddedPostgres } from "./embedded/index.ts";
import { type DatabaseOptions, type Migration, schemaNameFor } from "./index.ts";
import { startTestPostgres, testDatabase } from "./testing/index.ts";

interface Tables {
  canary: { n: number };
  [name: string]: Record<string, unknown>;
}

const createCanary: Migration = {
  name: "0001_canary",
  up: (tx) => tx.query(sql`create table canary (n int)`),
};

/** What would drop the table, could any of it leave the place that it is put in. */
const hostileTexts = [
  `x"; drop table canary; --`,
  `x'; drop table canary; --`,
  `x; drop table canary`,
  `now(); drop table canary; select now`,
  `x" cascade; drop table canary; select "`,
  `x*/; drop table canary; /*`,
  `x$$; drop table canary; $$`,
  `x\\'; drop table canary; --`,
  `x\n; drop table canary; --`,
  `x"\u0000; drop table canary`,
  `\u02ba; drop table canary; \u02b9`,
];

/** As code without types could call it. */
function untyped<T>(value: unknown): T;
function untyped(value: unknown): unknown {
  return value;
}

describe("hostile text", { timeout: 60_000 }, () => {
  let server: EmbeddedPostgres;
  let db: Database<Tables> & AsyncDisposable;
  before(async () => {
    server = await startTestPostgres();
    db = await testDatabase<Tables>({ url: server.url, migrations: [createCanary] });
  });
  after(async () => {
    await db?.[Symbol.asyncDispose]();
    await server?.stop();
  });
  const canaryLives = async (): Promise<void> => {
    assert.deepEqual((await db.query(sql`select from canary`)).rows, []);
  };
  const options = (more: object): DatabaseOptions => ({ url: server.url, schema: db.schema, ...more });
  const range = { name: "OptionError", code: /^ERR_OPTION_/ };

  const refused: Readonly<Record<string, (text: string) => unknown>> = {
    "as a schema's name": (text) => openDatabase(options({ schema: text })),
    "as an app's name, which makes a schema's": (text) => schemaNameFor(text),
    "as a pooler's mode": (text) => openDatabase(options({ pooler: text })),
    "as a number of milliseconds": (text) => openDatabase(options({ statementTimeoutMs: text, pooler: "transaction" })),
    "as a migration's name": (text) => openDatabase(options({ migrations: [{ ...createCanary, name: text }] })),
    "as the migration to go up to": (text) => db.migrate({ to: text }),
    "as the migration to go down to": (text) => db.rollback({ to: text }),
    "as a number of migrations to take back": (text) => db.rollback({ steps: untyped(text) }),
    "as an isolation level": (text) => db.transaction(async () => {}, { isolation: untyped(text) }),
    "as a statement": (text) => db.query(untyped<RawBuilder<unknown>>(text)),
    "as a statement to stream": (text) => db.stream(untyped<RawBuilder<unknown>>(text)),
    "as the size of a batch": (text) => db.stream(sql`select 1`, { batchSize: untyped(text) }),
  };
  for (const [where, attempt] of Object.entries(refused)) {
    it(`is refused ${where}`, async () => {
      for (const text of hostileTexts) {
        await assert.rejects(async () => await attempt(text), range, JSON.stringify(text));
      }
      await canaryLives();
    });
  }

  /** Whether the server itself says no, or does what it is asked to with a strange name, nothing else happens. */
  const quoted: Readonly<Record<string, (text: string) => Promise<unknown>>> = {
    "as a value": (text) => db.query(sql`select ${text}::text`),
    "as an identifier": (text) => db.query(sql`select 1 as ${sql.id(text)}`),
    "as a table of a template": (text) => db.query(sql`select from ${sql.table(text)}`),
    "as a reference of a template": (text) => db.query(sql`select ${sql.ref(text)} from canary`),
    "as a literal that is written out": (text) => db.query(sql`select ${sql.lit(text)}`),
    "as a table of a builder": (text) => db.kysely.selectFrom(text).selectAll().execute(),
    "as a column of a builder": (text) => db.kysely.selectFrom("canary").select(sql.ref(text).as("c")).execute(),
    "as an alias of a builder": (text) => db.kysely.selectFrom(`canary as ${text}`).selectAll().execute(),
    "as another schema of a builder": (text) => db.kysely.withSchema(text).selectFrom("canary").selectAll().execute(),
    "as a schema to create": (text) => db.kysely.schema.createSchema(text).ifNotExists().execute(),
    "as a savepoint's name": async (text) => {
      const tx = await db.kysely.startTransaction().execute();
      try {
        await tx.savepoint(text).execute();
      } finally {
        await tx.rollback().execute();
      }
    },
    "as a channel's name": (text) => db.query(sql`notify ${sql.id(text)}`),
    "as a label of a transaction": (text) => db.transaction((tx) => tx.query(sql`select 1`), { label: text }),
    "as a label of a connection": (text) => db.withConnection((own) => own.query(sql`select 1`), { label: text }),
  };
  for (const [where, attempt] of Object.entries(quoted)) {
    it(`stays where it is put ${where}`, async () => {
      for (const text of hostileTexts) {
        await attempt(text).catch((error: unknown) => {
          assert.match(error instanceof Error ? error.name : "", /^(?:DatabaseError|OptionError|Error)$/);
        });
        await db.query(sql`drop schema if exists ${sql.id(text.replaceAll("\0", ""))} cascade`);
      }
      await canaryLives();
    });
  }

  it("is the name that the server shows for a service, and nothing else", async () => {
    for (const text of hostileTexts.filter((each) => !/[^ -~]/.test(each))) {
      const named = openDatabase(options({ applicationName: text }));
      const { rows } = await named.query(sql`select current_setting('application_name') as name`);
      assert.deepEqual(rows, [{ name: text }]);
      await named.close();
    }
    await canaryLives();
  });

  it("is no part of a trace comment, which holds a trace's numbers alone", async () => {
    const nothing = (): void => {};
    for (const traceId of hostileTexts) {
      const methods = {
        setAttribute: nothing,
        setAttributes: nothing,
        rename: nothing,
        fail: nothing,
        setFailed: nothing,
      };
      const span: Span = { traceId, spanId: "1", sampled: true, end: nothing, ...methods };
      const tracing: Tracing = { ...createTracing(), startSpan: () => span };
      const traced = openDatabase<Tables>(options({ tracing, traceComments: true }));
      const seen = sql<{ query: string }>`select query from pg_stat_activity where pid = pg_backend_pid()`;
      const { rows } = await traced.query(seen);
      assert.doesNotMatch(rows[0]?.query ?? "", /canary/);
      await traced.close();
    }
    await canaryLives();
  });
});
