import { readFile, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { DatabaseError } from "../errors.ts";

/** Whom a server process runs as. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** PostgreSQL refuses to run as root, so root's server runs as one of these, in this order. */
const candidates = ["postgres", "nobody"];

/**
 * The account for the server: undefined is the one of this process, which is right unless that is root.
 * @throws {@link DatabaseError} `ERR_DATABASE_EMBEDDED` when root has no such account on this machine.
 */
export async function serverAccount(): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const accounts = (await readFile("/etc/passwd", "utf8")).split("\n").map((line) => line.split(":"));
  for (const candidate of candidates) {
    const fields = accounts.find(([name]) => name === candidate);
    if (fields) return { name: candidate, uid: Number(fields[2]), gid: Number(fields[3]) };
  }
  throw new DatabaseError(
    "ERR_DATABASE_EMBEDDED",
    "failed_precondition",
    `PostgreSQL does not run as root, and this machine has no account ${candidates.join(" or ")} to run it as; run as another user`,
  );
}

/** Whether `account` may read and, for folders and programs, enter or run what is at `path`, through all folders above it. */
export async function canReach(account: Account | undefined, path: string): Promise<boolean> {
  if (!account) return true;
  for (let at = resolve(path), isTarget = true; ; at = dirname(at), isTarget = false) {
    const { mode, uid, gid } = await stat(at);
    const bits = uid === account.uid ? mode >> 6 : gid === account.gid ? mode >> 3 : mode;
    const wanted = isTarget ? ((mode & 0o111) === 0 ? 0o4 : 0o5) : 0o1;
    if ((bits & wanted) !== wanted) return false;
    if (at === dirname(at)) return true;
  }
}
