import { createHash } from "node:crypto";
import { OptionError } from "@plinth/kernel";
import { sql } from "kysely";
import type { Queries } from "../queries.ts";
import type { Migration } from "./migration.ts";
import { splitStatements } from "./split-statements.ts";

/** One half of a file: the text below its marker. */
interface Section {
  readonly text: string;
  readonly transaction: boolean;
}

const marker = /^--\s*migrate:(.*)$/;

/**
 * A migration out of an SQL text in dbmate's form: `-- migrate:up`, the statements, and, if it can be taken back, `-- migrate:down` with
 * others. `transaction:false` after a marker runs that half without a transaction, one statement after the other.
 *
 * @param name - As {@link Migration.name}.
 * @throws {@link OptionError} `ERR_OPTION_RANGE`, with name and line, for a text of another form or one that ends its own transaction.
 */
export function parseSqlMigration(name: string, text: string): Migration {
  const { up, down } = sectionsOf(name, text.replaceAll("\r\n", "\n"));
  if (down && down.transaction !== up.transaction) {
    refuse(name, "transaction:false must stand at both markers or at neither");
  }
  return {
    name,
    up: stepOf(name, up),
    ...(down ? { down: stepOf(name, down) } : {}),
    transaction: up.transaction,
    checksum: checksumOf(up.text),
    sql: { up: up.text, down: down?.text },
  };
}

/** Of the way up alone, whatever ends its lines: the way down may be mended later. */
function checksumOf(text: string): string {
  const lines = text.split("\n").map((line) => line.trimEnd());
  return `sha256:${createHash("sha256").update(lines.join("\n").trim()).digest("hex")}`;
}

function sectionsOf(name: string, text: string): { readonly up: Section; readonly down: Section | undefined } {
  const found: { readonly kind: string; readonly transaction: boolean; readonly lines: string[] }[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const mark = marker.exec(line.trim())?.[1];
    if (mark === undefined) {
      const section = found.at(-1);
      if (section) section.lines.push(line);
      else if (!/^\s*(--.*)?$/.test(line)) {
        refuse(name, `line ${index + 1}: the text must begin with "-- migrate:up"`);
      }
      continue;
    }
    const [kind = "", ...options] = mark.trim().split(/\s+/);
    const expected = ["up", "down"][found.length];
    if (kind !== expected) {
      const wanted = expected === undefined ? "no other marker may come" : `"-- migrate:${expected}" must come`;
      refuse(name, `line ${index + 1}: "${line.trim().slice(0, 80)}" stands where ${wanted}`);
    }
    const strange = options.find((option) => option !== "transaction:false" && option !== "transaction:true");
    if (strange !== undefined) {
      refuse(name, `line ${index + 1}: "${strange.slice(0, 80)}" is no option of a marker; there is transaction:false`);
    }
    found.push({ kind, transaction: !options.includes("transaction:false"), lines: [] });
  }
  const [up, down] = found.map(({ transaction, lines }): Section => ({ transaction, text: lines.join("\n").trim() }));
  if (!up) refuse(name, `there is no "-- migrate:up"`);
  if (splitStatements(up.text).length === 0) refuse(name, "there is no statement below -- migrate:up");
  // an empty way down says that nothing has to be done
  return { up, down };
}

const endsTransaction = /^(?:begin|start transaction|commit|end|abort|prepare transaction|rollback(?! to\b))\b/;

function stepOf(name: string, { text, transaction }: Section): Migration["up"] {
  const statements = splitStatements(text);
  const ending = statements.find(({ head }) => endsTransaction.test(head));
  if (ending) {
    refuse(name, `"${ending.head}" would end the transaction that the migration runs in; leave it out`);
  }
  if (transaction) {
    return async (tx: Queries) => {
      if (statements.length > 0) await tx.query(sql.raw(text));
    };
  }
  return async (db: Queries) => {
    for (const statement of statements) await db.query(sql.raw(statement.text));
  };
}

function refuse(name: string, problem: string): never {
  throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", `migration ${name}: ${problem}`);
}
