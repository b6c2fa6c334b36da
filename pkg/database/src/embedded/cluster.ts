import { randomBytes } from "node:crypto";
import { chown, link, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { DatabaseError } from "../errors.ts";
import { type Account, canReach } from "./account.ts";
import type { Binaries } from "./binaries.ts";
import { errorCodeOf, readIfThere } from "./files.ts";
import { findPostmaster, isAlive } from "./postmaster.ts";
import { runProgram } from "./program.ts";
import { sharedFolder } from "./shared-folder.ts";

/** One set of databases on disk, and where what belongs to it lies. */
export interface Cluster {
  readonly password: string;
  readonly dataDir: string;
  readonly logFile: string;
  /** One file for each process that uses the server. */
  readonly leaseDir: string;
  /** One file for each process that is stopping the server. */
  readonly closingDir: string;
}

const identitySchema = z.object({ id: z.string().regex(/^[0-9a-f]{16}$/), password: z.string().min(16) });
type Identity = z.infer<typeof identitySchema>;

/**
 * Data in the shared folder is removed when the folder that it stands for has gone and nobody has used it for so long:
 * a minute for one that was stopped in order, a day for one that may be running where we cannot see it, as in a container.
 */
const abandonedAfterMs = { stopped: 60_000, unclear: 24 * 3_600_000 };

/**
 * The cluster that `folder` stands for, made when there is none yet. Several processes may do so at once: one cluster results.
 *
 * `folder/cluster.json` holds the password, readable by us alone. The data lies beside it, or in the shared folder
 * where the server's account cannot reach `folder`; either way, deleting `folder` means a fresh start.
 */
export async function openCluster(
  folder: string,
  account: Account | undefined,
  binaries: Binaries,
  fsync: boolean,
): Promise<Cluster> {
  await mkdir(folder, { recursive: true });
  const { id, password } = await identityOf(folder);
  const place = (await canReach(account, folder)) ? folder : await placeInShared(folder, id, account);
  const watched = join(place, "watched"); // the part that the server's account writes to, beside the data
  const cluster: Cluster = {
    password,
    dataDir: join(place, "data"),
    logFile: join(place, "server.log"),
    leaseDir: join(watched, "leases"),
    closingDir: join(watched, "closings"),
  };
  for (const dir of [watched, cluster.leaseDir, cluster.closingDir]) {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await giveTo(account, dir);
  }
  if ((await readIfThere(join(cluster.dataDir, "PG_VERSION"))) === undefined) {
    await initialize(place, cluster, account, binaries, fsync);
  }
  await requireVersion(folder, cluster, binaries);
  return cluster;
}

async function identityOf(folder: string): Promise<Identity> {
  const file = join(folder, "cluster.json");
  const fresh = { id: randomBytes(8).toString("hex"), password: randomBytes(24).toString("base64url") };
  const draft = `${file}.${fresh.id}`;
  await writeFile(draft, JSON.stringify(fresh), { mode: 0o600 });
  try {
    await link(draft, file); // all of it at once, and only when nobody else was first
    return fresh;
  } catch (error) {
    if (errorCodeOf(error) !== "EEXIST") throw error;
  } finally {
    await rm(draft, { force: true });
  }
  return identitySchema.parse(JSON.parse(await readFile(file, "utf8")));
}

async function placeInShared(folder: string, id: string, account: Account | undefined): Promise<string> {
  const clusters = join(await sharedFolder(account), "clusters");
  const place = join(clusters, id);
  await mkdir(place, { recursive: true, mode: 0o755 });
  await writeFile(join(place, "folder"), folder);
  for (const name of await readdir(clusters)) if (name !== id) await removeAbandoned(join(clusters, name), name);
  return place;
}

async function removeAbandoned(place: string, id: string): Promise<void> {
  const marker = join(place, "folder");
  const folder = await readIfThere(marker);
  if (folder === undefined || (await readIfThere(join(folder, "cluster.json")))?.includes(id)) return;
  const isStopped = (await readIfThere(join(place, "data", "postmaster.pid"))) === undefined;
  const unusedMs = Date.now() - (await stat(marker)).mtimeMs;
  if (unusedMs < abandonedAfterMs[isStopped ? "stopped" : "unclear"]) return;
  if (!(await findPostmaster(join(place, "data")))) await rm(place, { recursive: true, force: true });
}

/** Made aside and moved into place, so that a kill half-way leaves nothing that looks like a cluster. */
async function initialize(
  place: string,
  { dataDir, password }: Cluster,
  account: Account | undefined,
  { initdb, majorVersion, env }: Binaries,
  fsync: boolean,
): Promise<void> {
  for (const name of await readdir(place)) {
    const pid = /^init-(\d+)-/.exec(name)?.[1];
    if (pid !== undefined && Number(pid) !== process.pid && !(await isAlive(Number(pid)))) {
      await rm(join(place, name), { recursive: true, force: true });
    }
  }
  const staging = await mkdtemp(join(place, `init-${process.pid}-`));
  const passwordFile = join(staging, "password");
  try {
    await writeFile(passwordFile, password, { mode: 0o600 });
    await giveTo(account, passwordFile);
    await giveTo(account, staging);
    const made = join(staging, "data");
    const options = ["--username=postgres", "--auth=scram-sha-256", `--pwfile=${passwordFile}`, "--no-instructions"];
    const builtIn = Number(majorVersion) < 17 ? [] : ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"];
    const locale = ["--encoding=UTF8", "--locale=C", ...builtIn];
    await runProgram(
      initdb,
      [`--pgdata=${made}`, ...options, ...locale, ...(fsync ? [] : ["--no-sync"])],
      account,
      env,
    );
    await rename(made, dataDir);
  } catch (error) {
    if (errorCodeOf(error) !== "ENOTEMPTY" && errorCodeOf(error) !== "EEXIST") throw error;
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

async function requireVersion(folder: string, { dataDir }: Cluster, { majorVersion }: Binaries): Promise<void> {
  const version = (await readFile(join(dataDir, "PG_VERSION"), "utf8")).trim();
  if (version === majorVersion) return;
  throw new DatabaseError(
    "ERR_DATABASE_EMBEDDED",
    "failed_precondition",
    `the data of ${folder} was made by PostgreSQL ${version}, and this is ${majorVersion}; delete the folder for a fresh start`,
  );
}

async function giveTo(account: Account | undefined, path: string): Promise<void> {
  if (account) await chown(path, account.uid, account.gid);
}
