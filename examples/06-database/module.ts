import { Readable } from "node:stream";
import { database, provideMigrations, readMigrations } from "@plinth/database";
import { defineModule, provider, token, z } from "@plinth/kernel";
import { httpRoutes } from "@plinth/transport";
import { Ledger, type LedgerTables } from "./ledger.ts";

export const ledgerMigrations = await readMigrations(new URL("./migrations/", import.meta.url));

const ledger = token("ledger").of<Ledger>();

const name = z.string().regex(/^[a-z]{1,20}$/);
const opened = z.strictObject({ name, balance: z.int().min(0).max(1_000_000) });
const transfer = z.strictObject({ id: z.uuid(), payer: name, payee: name, amount: z.int().min(1).max(1_000_000) });

export const ledgerModule = defineModule("ledger", [
  provideMigrations(ledgerMigrations),
  provider({
    provides: ledger,
    needs: { db: database },
    create: ({ db }) => new Ledger(db.withTables<LedgerTables>()),
  }),
  provider({
    provides: httpRoutes,
    needs: { ledger },
    create:
      ({ ledger: own }) =>
      (app) => {
        app.post("/accounts", { schema: { body: opened } }, async ({ body }, reply) => {
          await own.open(body.name, body.balance);
          return reply.code(201).send({ name: body.name });
        });
        app.get("/accounts/:name", { schema: { params: z.object({ name }) } }, async ({ params }) => ({
          balance: await own.balanceOf(params.name),
        }));
        app.post("/transfers", { schema: { body: transfer } }, async ({ body }, reply) =>
          reply.code((await own.transfer(body)) ? 201 : 200).send({ id: body.id }),
        );
        app.get("/transfers", (_request, reply) =>
          reply.type("application/x-ndjson").send(Readable.from(own.statement())),
        );
      },
  }),
]);
