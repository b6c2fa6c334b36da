import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { databaseModule } from "@plinth/database";
import { startTestPostgres, testDatabase } from "@plinth/database/testing";
import { coreModule } from "@plinth/kernel";
import { testApp } from "@plinth/kernel/testing";
import { httpModule, httpServer } from "@plinth/transport";
import { Ledger, type LedgerTables } from "./ledger.ts";
import { ledgerMigrations, ledgerModule } from "./module.ts";

let server: Awaited<ReturnType<typeof startTestPostgres>>;
before(async () => void (server = await startTestPostgres()));
after(() => server.stop());

/** A ledger on a schema of its own, where each of these has 100. */
async function openLedger(...names: readonly string[]) {
  const db = await testDatabase<LedgerTables>({ url: server.url, migrations: ledgerMigrations });
  const ledger = new Ledger(db);
  for (const name of names) await ledger.open(name, 100);
  const statement = async (): Promise<readonly string[]> => Array.fromAsync(ledger.statement());
  return { db, ledger, statement, [Symbol.asyncDispose]: () => db[Symbol.asyncDispose]() };
}

const pay = (payer: string, payee: string, amount: number) => ({ id: randomUUID(), payer, payee, amount });

describe("06-database", () => {
  it("does all of a transfer, or nothing", async () => {
    await using own = await openLedger("ada", "grace");
    assert.equal(await own.ledger.transfer(pay("ada", "grace", 40)), true);
    await assert.rejects(own.ledger.transfer(pay("ada", "grace", 61)), { code: "ERR_BALANCE_LOW" });
    await assert.rejects(own.ledger.transfer(pay("ada", "nobody", 1)), { code: "ERR_ACCOUNT_UNKNOWN" });
    assert.deepEqual([await own.ledger.balanceOf("ada"), await own.ledger.balanceOf("grace")], [60, 140]);
    assert.deepEqual(await own.statement(), ['["ada","grace",40]\n']);
  });

  it("does a transfer once, however often it is sent", async () => {
    await using own = await openLedger("ada", "grace");
    const transfer = pay("ada", "grace", 10);
    const done = await Promise.all([1, 2, 3].map(() => own.ledger.transfer(transfer)));
    assert.deepEqual(
      done.filter((isNew) => isNew),
      [true],
    );
    assert.equal(await own.ledger.balanceOf("ada"), 90);
  });

  it("balances its books when all pay each other at once", async () => {
    await using own = await openLedger("ada", "grace");
    const transfers = Array.from({ length: 8 }, (_, turn) =>
      turn % 2 === 0 ? pay("ada", "grace", 1) : pay("grace", "ada", 1),
    );
    await Promise.all(transfers.map((transfer) => own.ledger.transfer(transfer)));
    assert.deepEqual([await own.ledger.balanceOf("ada"), await own.ledger.balanceOf("grace")], [100, 100]);
    const lines = await own.statement();
    assert.equal(lines.length, 8);
  });

  it("takes its tables back, the last ones first, and makes them again", async () => {
    await using own = await openLedger();
    const names = ledgerMigrations.map(({ name }) => name);
    const back = await own.db.rollback({ steps: 3 });
    assert.deepEqual(back.map(({ name }) => name).toReversed(), names);
    await own.db.migrate();
    const states = await own.db.migrationStatus();
    assert.deepEqual(
      states.map(({ name, status }) => `${name} ${status}`),
      names.map((name) => `${name} applied`),
    );
  });

  it("serves it over HTTP, and tells callers nothing of its tables", async () => {
    await using own = await openLedger("ada");
    await using app = await testApp({
      name: "ledger",
      modules: [coreModule, databaseModule, httpModule, ledgerModule],
      config: { defaults: { http: { port: 0 }, database: { url: server.url, schema: own.db.schema } } },
    });
    const url = `http://127.0.0.1:${app.get(httpServer).port}`;
    const post = async (path: string, body: object) => {
      const headers = { "content-type": "application/json" };
      const response = await fetch(url + path, { method: "POST", headers, body: JSON.stringify(body) });
      const { code, detail }: { code?: string; detail?: string } = JSON.parse(await response.text());
      return [response.status, code, detail];
    };
    assert.deepEqual(await post("/accounts", { name: "grace", balance: 0 }), [201, undefined, undefined]);
    assert.deepEqual(await post("/accounts", { name: "grace", balance: 0 }), [
      409,
      "ERR_ACCOUNT_TAKEN",
      "there is an account grace already",
    ]);
    const transfer = pay("ada", "grace", 30);
    assert.deepEqual(await post("/transfers", transfer), [201, undefined, undefined]);
    assert.deepEqual(await post("/transfers", transfer), [200, undefined, undefined]);
    assert.deepEqual(await post("/transfers", pay("grace", "ada", 31)), [
      400,
      "ERR_BALANCE_LOW",
      "grace has less than 31",
    ]);
    assert.equal(await (await fetch(`${url}/accounts/grace`)).text(), '{"balance":30}');
    const statement = await fetch(`${url}/transfers`);
    assert.equal(statement.headers.get("content-type"), "application/x-ndjson");
    assert.equal(await statement.text(), '["ada","grace",30]\n');
  });
});
