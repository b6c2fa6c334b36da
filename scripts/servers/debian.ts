// Unpacks a Debian package, and the libraries it lacks on this machine, into a folder: apt-get and dpkg -x, no root needed.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
const aptLimitMs = 180_000;

export interface DebianPackage {
  readonly name: string;
  /**
   * An older suite to take the package from, alone and without what it depends on: for a self-contained program that
   * newer suites dropped. Without it, the package and its missing libraries come from the machine's own suites.
   */
  readonly suite?: string;
  /** Of the packages that it depends on, those that it runs without: they are not fetched. Default none. */
  readonly without?: RegExp;
}

/**
 * Downloads and unpacks `wanted` into `folder`, which appears whole or not at all: only after `check` has passed on it.
 *
 * apt works in a folder of its own, so the machine's package lists may be empty, are not touched, and need no root.
 *
 * @throws When this is no Debian, or apt cannot reach a mirror or has no such package; the message has apt's own words.
 */
export async function unpackDebianPackage(
  wanted: DebianPackage,
  folder: string,
  check: (unpacked: string) => Promise<void>,
): Promise<void> {
  await requireDebian();
  await mkdir(join(folder, ".."), { recursive: true });
  const work = await mkdtemp(`${folder}.`);
  try {
    const apt = await prepareApt(work, wanted.suite);
    await apt(["update"]);
    const names = wanted.suite === undefined ? await findMissing(apt, wanted) : [wanted.name];
    await apt(["download", ...names]);
    const archives = join(work, "cache/archives");
    const root = join(work, "root");
    for (const file of (await readdir(archives)).filter((name) => name.endsWith(".deb"))) {
      await run("dpkg", ["-x", join(archives, file), root]);
    }
    await check(root);
    await rm(folder, { recursive: true, force: true });
    await rename(root, folder);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The package and what it depends on, as far as this machine lacks it. */
async function findMissing(apt: Apt, { name, without }: DebianPackage): Promise<readonly string[]> {
  const files = await apt(["install", "--print-uris", "--no-install-recommends", name]);
  const names = files.split("\n").flatMap((line) => / ([^ _]+)_\S+\.deb /.exec(line)?.[1] ?? []);
  // One that is installed, and not where it was looked for, is not in the list.
  return [...new Set([...names.filter((each) => without?.test(each) !== true), name])];
}

/** Where the unpacked shared libraries are, for `LD_LIBRARY_PATH`; empty when there are none. */
export async function findLibraryFolders(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const parent of ["usr/lib", "lib"]) {
    if (!existsSync(join(folder, parent))) continue;
    const names = await readdir(join(folder, parent));
    found.push(...names.filter((name) => name.includes("-linux-")).map((name) => join(folder, parent, name)));
  }
  return found;
}

async function requireDebian(): Promise<void> {
  const release = existsSync("/etc/os-release") ? await readFile("/etc/os-release", "utf8") : "";
  if (!/^ID=debian$/m.test(release)) throw new Error("packages can be unpacked on Debian only, and this is none");
}

/** Runs apt-get and returns what it prints. */
type Apt = (args: string[]) => Promise<string>;

/** An apt-get that keeps its state, its downloads and its configuration under `work`. */
async function prepareApt(work: string, suite: string | undefined): Promise<Apt> {
  await mkdir(join(work, "state/lists/partial"), { recursive: true });
  await mkdir(join(work, "cache/archives/partial"), { recursive: true });
  const config = join(work, "apt.conf");
  const settings = [
    `Dir::State "${join(work, "state")}";`,
    `Dir::Cache "${join(work, "cache")}";`,
    `Dir::State::status "/var/lib/dpkg/status";`,
    `Acquire::Languages "none";`,
    `Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";`,
    `Acquire::Retries "3";`,
    // Nothing outside `work` is written, so there is nothing to lock, to drop privileges for or to clean up after.
    `APT::Sandbox::User "root";`,
    `Debug::NoLocking "true";`,
    `#clear APT::Update::Post-Invoke;`,
    `#clear DPkg::Post-Invoke;`,
  ];
  if (suite !== undefined) {
    const list = join(work, "sources.list");
    await writeFile(list, `deb [signed-by=${keyring}] ${await findMirror()} ${suite} main\n`);
    settings.push(`Dir::Etc::sourcelist "${list}";`, `Dir::Etc::sourceparts "/dev/null";`);
  }
  await writeFile(config, `${settings.join("\n")}\n`);
  const environment = { ...process.env, APT_CONFIG: config, LC_ALL: "C" };
  return async (args) => {
    const options = {
      cwd: join(work, "cache/archives"),
      env: environment,
      timeout: aptLimitMs,
      maxBuffer: 16 * 2 ** 20,
    };
    return (await run("apt-get", ["-qq", ...args], options)).stdout;
  };
}

/** The mirror this machine already uses; an older suite lies beside the current one. Security suites have a site of their own. */
async function findMirror(): Promise<string> {
  if (!existsSync(keyring)) throw new Error(`${keyring} is missing; install debian-archive-keyring`);
  const targets = ["indextargets", "--format", "$(CODENAME) $(SITE)", "Created-By: Packages"];
  const { stdout } = await run("apt-get", targets);
  const lines = stdout.trim().split("\n");
  const site = lines.find((line) => !/^\S*-security /.test(line))?.split(" ")[1];
  if (site === undefined) throw new Error("apt has no Debian mirror configured in /etc/apt");
  return site;
}
