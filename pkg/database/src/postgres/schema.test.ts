import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { randomHex } from "@plinth/kernel";
import { sql } from "kysely";
import { type Database, openDatabase } from "../database.ts";
import type { EmbeddedPostgres } from "../embedded/index.ts";
import { DatabaseError, type DatabaseOptions, type Migration } from "../index.ts";
import { startTestPostgres, testDatabase } from "../testing/index.ts";

const createNotes: Migration = {
  name: "0001_create_notes",
  up: (tx) => tx.query(sql`create table notes (text text)`),
};

describe("the start of a service whose role has few rights", { timeout: 60_000 }, () => {
  let server: EmbeddedPostgres;
  let admin: Database & AsyncDisposable;
  const role = `few_rights_${randomHex(4)}`;
  before(async () => {
    server = await startTestPostgres();
    admin = await testDatabase({ url: server.url });
    await admin.query(sql`create role ${sql.id(role)} login password 'x'`);
  });
  after(async () => {
    await admin?.query(sql`drop owned by ${sql.id(role)}`);
    await admin?.query(sql`drop role ${sql.id(role)}`);
    await admin?.[Symbol.asyncDispose]();
    await server?.stop();
  });
  const asRole = () => server.url.replace(/\/\/[^@]*@/, `//${role}:x@`);

  /** What the start fails with, for as long as what it says to run has not been run. */
  async function startGranting(options: Omit<DatabaseOptions, "url">): Promise<readonly string[]> {
    const told: string[] = [];
    for (;;) {
      const db = openDatabase({ url: asRole(), ...options });
      try {
        await db.connect();
        return told;
      } catch (error) {
        assert.ok(error instanceof DatabaseError);
        assert.equal(error.code, "ERR_DATABASE_SCHEMA");
        assert.equal(error.status, "failed_precondition");
        const todo =
          / run: (.*?)(?:: .*|, or set migrateOnStart to false.*)?$/.exec(error.message)?.[1] ??
          assert.fail(error.message);
        assert.ok(!told.includes(todo), `it was granted: ${todo}`);
        told.push(todo);
        for (const statement of todo.split("; ")) await admin.query(sql.raw(statement));
      } finally {
        await db.close();
      }
    }
  }

  it("fails until it may use the schema, with the statement that grants it", async () => {
    await using other = await testDatabase({ url: server.url });
    assert.deepEqual(await startGranting({ schema: other.schema }), [
      `grant usage on schema "${other.schema}" to "${role}"`,
    ]);
  });

  it("fails until it may do all that its migrations need, with one statement for each right", async () => {
    await using other = await testDatabase({ url: server.url, migrations: [createNotes] });
    assert.deepEqual(await startGranting({ schema: other.schema, migrations: [createNotes] }), [
      `grant usage, create on schema "${other.schema}" to "${role}"; grant select, insert, update, delete on "${other.schema}"."plinth_migrations" to "${role}"`,
    ]);
  });

  it("asks for no more than to use the schema where another role applies the migrations", async () => {
    await using other = await testDatabase({ url: server.url, migrations: [createNotes] });
    const options = { schema: other.schema, migrations: [createNotes], migrateOnConnect: false };
    assert.deepEqual(await startGranting(options), [`grant usage on schema "${other.schema}" to "${role}"`]);
  });

  it("says how to create a schema that it may not create, and goes on in the one that was created", async () => {
    const schema = `made_${randomHex(4)}`;
    assert.deepEqual(await startGranting({ schema, migrations: [createNotes] }), [
      `create schema "${schema}" authorization "${role}"`,
    ]);
    await admin.query(sql`drop schema ${sql.id(schema)} cascade`);
  });
});
