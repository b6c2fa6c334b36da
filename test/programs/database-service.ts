// A service on a database and nothing else, for the tests of one that dies, hangs or is full.
import { type Database, database, databaseModule, type Migration, provideMigrations, sql } from "@plinth/database";
import { coreModule, createApp, defineModule, provider, runInContext, z } from "@plinth/kernel";
import { httpModule, httpRoutes } from "@plinth/transport";

const createBooks: Migration = {
  name: "0001_create_books",
  up: async (tx) => {
    // Without a key: what was written twice is to be found there twice.
    await tx.query(sql`create table entries (id text not null, way text not null, padding text not null)`);
    await tx.query(sql`create table totals (way text primary key, entries int not null)`);
    await tx.query(sql`insert into totals values ('paired', 0), ('contended', 0)`);
    // Commits take a while, so that many a fault meets one.
    await tx.query(sql`create function linger() returns trigger language plpgsql
      as 'begin perform pg_catalog.pg_sleep(0.01); return null; end'`);
    await tx.query(sql`create constraint trigger linger after insert on entries initially deferred
      for each row execute function linger()`);
  },
};

const entry = z.strictObject({ id: z.string(), way: z.enum(["alone", "paired", "contended"]) });
const padding = "x".repeat(400);

/** By one statement; by a transaction of two; by one that meets others and is run again. */
async function write(db: Database, { id, way }: z.infer<typeof entry>): Promise<void> {
  const insert = sql`insert into entries values (${id}, ${way}, ${padding})`;
  if (way === "alone") await db.query(insert);
  else {
    const isolation = way === "contended" ? "serializable" : "read committed";
    await db.transaction(
      async (tx) => {
        await tx.query(insert);
        await tx.query(sql`update totals set entries = entries + 1 where way = ${way}`);
      },
      { isolation, retries: way === "contended" ? 20 : 0 },
    );
  }
}

/** Holds connections for longer than any request. */
class Holding {
  readonly #db: Database;
  #free = Promise.withResolvers<void>();

  constructor(db: Database) {
    this.#db = db;
  }

  /** All of them, or none. */
  async begin(count: number): Promise<void> {
    this.#free = Promise.withResolvers<void>();
    const { promise } = this.#free;
    const taken = await Promise.allSettled(Array.from({ length: count }, () => this.#one(promise)));
    const failed = taken.find((each) => each.status === "rejected");
    if (!failed) return;
    this.end();
    throw failed.reason;
  }

  end(): void {
    this.#free.resolve();
  }

  #one(freed: Promise<void>): Promise<void> {
    const { promise: taken, resolve, reject } = Promise.withResolvers<void>();
    const held = async (): Promise<void> => {
      resolve();
      await freed;
    };
    void runInContext({}, () => this.#db.withConnection(held, { label: "holding" }).catch(reject));
    return taken;
  }
}

let steppedMs = 0;
const realNow = Date.now;
Date.now = () => realNow() + steppedMs;

const queryModule = defineModule("query", [
  provideMigrations([createBooks]),
  provider({
    provides: httpRoutes,
    needs: { db: database },
    create: ({ db }) => {
      const holding = new Holding(db);
      return (app) => {
        app.get("/query", async () => (await db.query(sql`select current_schema() as schema`)).rows[0]);
        app.get("/hold", async () => (await db.query(sql`select pg_sleep(600)`)).rows.length);
        app.post("/entries", { schema: { body: entry } }, async ({ body }) => {
          await write(db, body);
          return { id: body.id };
        });
        app.post("/holding", { schema: { body: z.strictObject({ count: z.int() }) } }, async ({ body }) => {
          if (body.count === 0) holding.end();
          else await holding.begin(body.count);
          return body;
        });
        app.post("/clock", { schema: { body: z.strictObject({ byMs: z.int() }) } }, async ({ body }) => {
          steppedMs += body.byMs;
          return { now: Date.now() };
        });
      };
    },
  }),
]);

const modules = [coreModule, databaseModule, httpModule, queryModule];
process.exitCode = await createApp({ name: "querying", modules }).run();
