// Where an account other than ours can run what was unpacked for us.
import { cp, mkdtemp, rename, rm, stat } from "node:fs/promises";
import { basename, delimiter, join, relative } from "node:path";
import type { Server } from "../../scripts/servers/index.ts";
import { type Account, canReach } from "../../pkg/database/src/embedded/account.ts";
import { sharedFolder } from "../../pkg/database/src/embedded/shared-folder.ts";

/** Where Debian's packages have their programs, from the folder that they are unpacked in. */
const packageFolder = /^(.+)\/usr\/(?:s?bin|lib)\//;

/** `server` where `account` can run it: as it is, or from a copy of its package in the temporary folder, made once. */
export async function reachableBy(account: Account | undefined, server: Server): Promise<Server> {
  const folder = packageFolder.exec(server.bin)?.[1];
  if (folder === undefined || (await canReach(account, server.bin))) return server;
  const { mtimeMs } = await stat(folder);
  const copy = join(await sharedFolder(account), `${basename(folder)}-${Math.round(mtimeMs)}`);
  if (!(await canReach(account, copy).catch(() => false))) await copyOnce(folder, copy);
  const moved = (path: string): string => join(copy, relative(folder, path));
  const env: Record<string, string> = {};
  for (const [name, paths] of Object.entries(server.env)) {
    env[name] = paths.split(delimiter).map(moved).join(delimiter);
  }
  return { bin: moved(server.bin), env };
}

async function copyOnce(folder: string, copy: string): Promise<void> {
  const staging = await mkdtemp(`${copy}.`);
  await cp(folder, join(staging, "root"), { recursive: true, verbatimSymlinks: true });
  await rename(join(staging, "root"), copy).catch(() => undefined); // somebody else was first
  await rm(staging, { recursive: true, force: true });
}
