import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "@plinth/kernel";
import type { NewMigration } from "./migrate-arguments.ts";

const texts = {
  sql: "-- migrate:up\n\n\n-- migrate:down\n\n",
  ts: [
    'import { type Queries, sql } from "@plinth/database";',
    ...["up", "down"].map(
      (way) => `\nexport async function ${way}(tx: Queries): Promise<void> {\n  await tx.query(sql\`select 1\`);\n}`,
    ),
    "",
  ].join("\n"),
};

/**
 * Writes an empty migration with the number after the last, or the time where the last has one. Its place goes to standard output.
 * @returns The exit code.
 */
export async function writeNewMigration({ words, folder, language }: NewMigration, now: Date): Promise<number> {
  try {
    await mkdir(folder, { recursive: true });
    const path = join(folder, `${nextNumber(await readdir(folder), now)}_${words}.${language}`);
    await writeFile(path, texts[language], { flag: "wx" });
    process.stdout.write(`${path}\n`);
    return 0;
  } catch (error) {
    process.stderr.write(`plinth: ${messageOf(error)}\n`);
    return 1;
  }
}

/** Has as many digits as the last one: migrations are sorted by name. */
export function nextNumber(files: readonly string[], now: Date): string {
  const numbers = files.flatMap((file) => /^(\d+)_/.exec(file)?.[1] ?? []);
  const last = numbers.toSorted((a, b) => Number(BigInt(a) - BigInt(b))).at(-1) ?? "0000";
  if (last.length === 14) return now.toISOString().replaceAll(/\D/g, "").slice(0, 14);
  return String(BigInt(last) + 1n).padStart(last.length, "0");
}
