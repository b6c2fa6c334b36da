import { type Database, DatabaseError, type Generated, sql } from "@plinth/database";
import { AppError } from "@plinth/kernel";

/** What the migrations have made. A `bigint` of PostgreSQL is read as text, since it may be too large for a number. */
export interface LedgerTables {
  accounts: { name: string; balance: string };
  transfers: { id: string; payer: string; payee: string; amount: string; done_at: Generated<Date> };
}

export interface Transfer {
  /** Made by the caller: the same one sent twice is done once. */
  readonly id: string;
  readonly payer: string;
  readonly payee: string;
  readonly amount: number;
}

/** Accounts and the money that goes from one to the other. */
export class Ledger {
  readonly #db: Database<LedgerTables>;

  constructor(db: Database<LedgerTables>) {
    this.#db = db;
  }

  /** @throws {@link AppError} `ERR_ACCOUNT_TAKEN` */
  async open(name: string, balance: number): Promise<void> {
    try {
      await this.#db.kysely
        .insertInto("accounts")
        .values({ name, balance: String(balance) })
        .execute();
    } catch (cause) {
      // The database decides, not a look before: two callers may ask at once.
      if (!isBroken(cause, "accounts_pkey")) throw cause;
      throw AppError.alreadyExists("ERR_ACCOUNT_TAKEN", `there is an account ${name} already`, { cause });
    }
  }

  /** @throws {@link AppError} `ERR_ACCOUNT_UNKNOWN` */
  async balanceOf(name: string): Promise<number> {
    const found = await this.#db.kysely
      .selectFrom("accounts")
      .select("balance")
      .where("name", "=", name)
      .executeTakeFirst();
    if (!found) throw AppError.notFound("ERR_ACCOUNT_UNKNOWN", `there is no account ${name}`);
    return Number(found.balance);
  }

  /**
   * All of it or nothing, and once. Of those that meet, one goes on, and the others are run again from their beginning.
   * @returns Whether it was done now, and not before.
   * @throws {@link AppError} `ERR_ACCOUNT_UNKNOWN`, `ERR_BALANCE_LOW`
   */
  async transfer({ id, payer, payee, amount }: Transfer): Promise<boolean> {
    try {
      return await this.#db.transaction(
        async (tx) => {
          // In one order, whoever pays: two that wait for each other would be a deadlock, which the server looks for after a second.
          await tx.query(sql`select from accounts where name in (${payer}, ${payee}) order by name for no key update`);
          const noted = await tx.kysely
            .insertInto("transfers")
            .values({ id, payer, payee, amount: String(amount) })
            .onConflict((conflict) => conflict.column("id").doNothing())
            .returning("id")
            .executeTakeFirst();
          if (!noted) return false;
          await tx.query(sql`update accounts set balance = balance - ${amount} where name = ${payer}`);
          await tx.query(sql`update accounts set balance = balance + ${amount} where name = ${payee}`);
          return true;
        },
        { isolation: "serializable", retries: 20, label: "transfer" },
      );
    } catch (cause) {
      if (isBroken(cause, "balance_not_negative"))
        throw AppError.failedPrecondition("ERR_BALANCE_LOW", `${payer} has less than ${amount}`, { cause });
      if (isBroken(cause, "transfers_payer_fkey") || isBroken(cause, "transfers_payee_fkey"))
        throw AppError.notFound("ERR_ACCOUNT_UNKNOWN", `there is no account ${payer}, or no ${payee}`, { cause });
      throw cause;
    }
  }

  /** All transfers, the oldest first, one line each: never more than a few hundred of them are in memory. */
  async *statement(): AsyncGenerator<string, void, void> {
    const rows = this.#db.kysely.selectFrom("transfers").selectAll().orderBy("done_at").orderBy("id").compile();
    for await (const { payer, payee, amount } of this.#db.stream(rows, { batchSize: 200 }))
      yield `${JSON.stringify([payer, payee, Number(amount)])}\n`;
  }
}

function isBroken(error: unknown, constraint: string): boolean {
  return error instanceof DatabaseError && error.constraint === constraint;
}
