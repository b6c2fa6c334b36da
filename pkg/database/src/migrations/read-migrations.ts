import { readdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { OptionError } from "@plinth/kernel";
import { z } from "zod";
import { checkMigrations, compareNames, inOrder, type Migration } from "./migration.ts";
import { parseSqlMigration } from "./sql-file.ts";

const filePattern = /^((\d+)_[A-Za-z0-9_.-]*[A-Za-z0-9_-])\.(sql|[mc]?[jt]s)$/;
const asFunction = z.custom<Migration["up"]>((value) => typeof value === "function", "expected a function");
const moduleSchema = z.object({
  up: asFunction,
  down: asFunction.optional(),
  transaction: z.boolean().optional(),
  checksum: z.string().optional(),
});

/**
 * Reads the migrations of a folder: SQL files `0001_create_notes.sql` in dbmate's form (`-- migrate:up`, `-- migrate:down`), and modules
 * `0002_fill_notes.ts` or `.js` that export `up` and, if they like, `down`, `transaction` and `checksum`. Other files are passed over
 * unless their name begins with a digit; so are tests and declarations. The file's name without its ending is the migration's.
 *
 * @param folder - `new URL("./migrations/", import.meta.url)`, or a path from the working directory.
 * @throws {@link OptionError} `ERR_OPTION_RANGE` for a file that is none, with its name; what the file system throws.
 * @example provideMigrations(await readMigrations(new URL("./migrations/", import.meta.url)))
 */
export async function readMigrations(folder: string | URL): Promise<readonly Migration[]> {
  const path = folder instanceof URL ? fileURLToPath(folder) : resolve(folder);
  const files = migrationFiles(await readdir(path), path);
  const migrations = await Promise.all(
    files.map(async ({ file, name }) =>
      file.endsWith(".sql")
        ? parseSqlMigration(name, await readFile(join(path, file), "utf8"))
        : moduleMigration(name, await import(pathToFileURL(join(path, file)).href)),
    ),
  );
  checkMigrations(migrations);
  return inOrder(migrations);
}

/** Of a folder's files those that are migrations, in the order of their numbers. */
export function migrationFiles(
  names: readonly string[],
  folder: string,
): readonly { readonly file: string; readonly name: string; readonly digits: string }[] {
  const files = names
    .filter((file) => /^\d|\.sql$/.test(file) && !/\.d\.[mc]?ts$|\.map$|\.test\./.test(file))
    .map((file) => {
      const [, name, digits] = filePattern.exec(file) ?? [];
      if (name !== undefined && digits !== undefined) return { file, name, digits };
      return refuse(`${join(folder, file)} is no name of a migration; expected one like 0001_create_notes.sql`);
    })
    .toSorted((a, b) => compareNames(a.name, b.name));
  for (const [index, { file, digits }] of files.entries()) {
    const before = files[index - 1];
    if (before && BigInt(before.digits) > BigInt(digits)) {
      refuse(
        `${before.file} sorts before ${file} in ${folder}, with the greater number; give all numbers as many digits`,
      );
    }
  }
  return files;
}

function moduleMigration(name: string, loaded: unknown): Migration {
  const { data, error } = moduleSchema.safeParse(loaded);
  if (error) {
    const [issue] = error.issues;
    refuse(`migration ${name}: its module must export up, a function: ${issue?.path.join(".")}: ${issue?.message}`);
  }
  const { up, down, transaction, checksum } = data;
  return {
    name,
    up,
    ...(down ? { down } : {}),
    ...(transaction === undefined ? {} : { transaction }),
    ...(checksum === undefined ? {} : { checksum }),
  };
}

function refuse(message: string): never {
  throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", message);
}
