import { lstat, mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseError } from "../errors.ts";
import { type Account, canReach } from "./account.ts";

/**
 * A folder that the server's account can reach, for what lies where it cannot: under /root, or in a folder of `mktemp -d`.
 * It must belong to us alone: others may write to the folder above it, and could put another server's program there.
 *
 * @throws {@link DatabaseError} `ERR_DATABASE_EMBEDDED` when it is not ours, or nothing can be reached.
 */
export async function sharedFolder(account: Account | undefined): Promise<string> {
  const ownUid = process.getuid?.() ?? 0;
  for (const above of new Set([tmpdir(), "/tmp", "/var/tmp"])) {
    if (!(await canReach(account, above))) continue;
    const folder = join(above, `plinth-postgres-${ownUid}`);
    await mkdir(folder, { recursive: true, mode: 0o755 });
    const { uid, mode } = await lstat(folder).then((found) => (found.isDirectory() ? found : { uid: -1, mode: 0 }));
    if (uid === ownUid && (mode & 0o022) === 0) return folder;
    throw new DatabaseError(
      "ERR_DATABASE_EMBEDDED",
      "failed_precondition",
      `${folder} is not a folder that only this user can write to; remove it`,
    );
  }
  throw new DatabaseError(
    "ERR_DATABASE_EMBEDDED",
    "failed_precondition",
    `the account ${account?.name ?? ""} that runs PostgreSQL can reach no folder for temporary files`,
  );
}
