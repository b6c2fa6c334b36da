import { readsOnly } from "../statement.ts";
import type { Statement, StatementResult } from "./exchange.ts";

/**
 * Runs one statement between a begin and a commit, which is how it finds the schema and its limits set where a pooler keeps nothing
 * longer than a transaction.
 *
 * @param scope - What the begin sets, as {@link scopeText}.
 * @param send - Runs one statement, in its turn.
 */
export async function inOwnTransaction<Row>(
  statement: Statement,
  scope: string,
  send: <R>(statement: Statement) => Promise<StatementResult<R>>,
): Promise<StatementResult<Row>> {
  const { operation, signals } = statement;
  const control = { values: [], undone: true, signals: [] };
  await send({ ...control, text: `begin; ${scope}`, operation: "BEGIN", signals });
  let result: StatementResult<Row>;
  try {
    result = await send<Row>({ ...statement, undone: true });
  } catch (error) {
    // Where that fails as well, the transaction is still open, and giving the connection back cuts it.
    await send({ ...control, text: "rollback", operation: "ROLLBACK" }).catch(() => {});
    throw error;
  }
  // Never cancelled: a commit that is cut half-way leaves a doubt.
  await send({ ...control, text: "commit", operation: "COMMIT", undone: readsOnly.has(operation) });
  return result;
}
