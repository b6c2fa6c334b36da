import assert from "node:assert/strict";
import { type ChildProcessByStdio, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { promisify } from "node:util";
import { after, afterEach, before, beforeEach, describe, it, type TestContext } from "node:test";
import { createLogger } from "@plinth/kernel";
import { MemoryLog } from "@plinth/kernel/testing";
import { openDatabase } from "../database.ts";
import { sql } from "../index.ts";
import { until } from "../testing/until.ts";
import { canReach, serverAccount } from "./account.ts";
import { makeLinks, placeBinaries } from "./binaries.ts";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "./index.ts";
import { passing } from "./launch.ts";
import { isAlive } from "./postmaster.ts";
import { sharedFolder } from "./shared-folder.ts";

interface Facts {
  readonly pid: number;
  readonly dataDir: string;
}

async function factsOf(server: EmbeddedPostgres): Promise<Facts> {
  const db = openDatabase({ url: server.url, schema: "facts" });
  await db.connect();
  const { rows } = await db.query(sql<{ dataDir: string }>`select current_setting('data_directory') as "dataDir"`);
  await db.close();
  const dataDir = rows[0]!.dataDir;
  return { dataDir, pid: Number((await readFile(join(dataDir, "postmaster.pid"), "utf8")).split("\n")[0]) };
}

/** Another process that starts a server on `folder`, says so, and keeps it until its input ends. */
const program = `
import { startEmbeddedPostgres } from ${JSON.stringify(import.meta.resolve("./index.ts"))};
const server = await startEmbeddedPostgres({ dataDir: process.argv[1], fsync: false });
process.stdout.write(JSON.stringify({ url: server.url, started: server.started }));
process.stdin.on("end", async () => {
  await server.stop();
}).resume();
`;

type Child = ChildProcessByStdio<Writable, Readable, null>;

function startInChild(folder: string): Child {
  const args = ["--conditions=plinth-source", "--input-type=module", "-e", program, folder];
  return spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
}

async function answerOf(child: Child): Promise<{ url: string; started: boolean }> {
  const [text] = await once(child.stdout, "data");
  return JSON.parse(String(text));
}

/** One that every account may enter, so that nothing of it lies anywhere else. */
async function openFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "plinth-embedded-"));
  await chmod(folder, 0o755);
  return folder;
}

/** A stopped server's folder once more. */
async function copyOf(folder: string): Promise<string> {
  const copy = await openFolder();
  await promisify(execFile)("cp", ["-a", `${folder}/.`, copy]);
  return copy;
}

describe("startEmbeddedPostgres", { timeout: 240_000, concurrency: 3 }, () => {
  // Making a cluster is the slow part: 1 s on an idle machine, 10 s on a busy one. So one is made, and copied for whatever is not about the beginning.
  let template: string;
  before(async () => {
    template = await openFolder();
    await (await startEmbeddedPostgres({ dataDir: template, fsync: false })).stop();
  });
  after(() => rm(template, { recursive: true, force: true }));

  describe("that is used", { concurrency: 1 }, () => {
    let folder: string;
    before(async () => void (folder = await copyOf(template)));
    after(() => rm(folder, { recursive: true, force: true }));
    const start = (options = {}) => startEmbeddedPostgres({ dataDir: folder, ...options });

    it("starts a server on loopback alone, and stops it", async () => {
      const server = await start();
      assert.equal(server.started, true);
      assert.equal(new URL(server.url).hostname, "127.0.0.1");
      const db = openDatabase({ url: server.url, schema: "notes" });
      await db.connect();
      const { rows } = await db.query(sql`
        select current_setting('listen_addresses') as addresses, current_setting('unix_socket_directories') as sockets,
          current_setting('fsync') as fsync, current_setting('server_encoding') as encoding`);
      assert.deepEqual(rows, [{ addresses: "127.0.0.1", sockets: "", fsync: "on", encoding: "UTF8" }]);
      await db.close();
      const { pid } = await factsOf(server);
      await Promise.all([server.stop(), server.stop()]);
      assert.equal(await isAlive(pid), false);
    });

    it("lets nobody in without the password, which only this user can read", async () => {
      const server = await start();
      const url = new URL(server.url);
      url.password = "guess";
      const stranger = openDatabase({ url: url.href, schema: "notes" });
      await assert.rejects(stranger.connect(), { code: "ERR_DATABASE_ACCESS" });
      await stranger.close();
      assert.equal((await stat(join(folder, "cluster.json"))).mode & 0o777, 0o600);
      await server.stop();
    });

    it("shares one server, which stops with the last that uses it", async () => {
      const [one, two] = await Promise.all([start(), start()]);
      assert.equal(one.url, two.url);
      const { pid } = await factsOf(two);
      await one.stop();
      assert.equal((await factsOf(two)).pid, pid);
      await two.stop();
      assert.equal(await isAlive(pid), false);
    });

    it("never joins a server that is about to be stopped", async () => {
      let last = await start();
      for (let round = 0; round < 10; round++) {
        const stopping = last.stop();
        for (let turn = 0; turn < 2 * round; turn++) await new Promise(setImmediate);
        last = await start();
        await stopping;
        const db = openDatabase({ url: last.url, schema: "joined" });
        await db.connect();
        await db.close();
      }
      await last.stop();
    });

    it("stops the server that it found and no other, however many stop and start at once", async () => {
      let servers = await Promise.all([start(), start(), start()]);
      for (let round = 0; round < 5; round++) {
        const stops = servers.map((server) => server.stop());
        servers = await Promise.all([start(), start(), start()]);
        await Promise.all(stops);
        assert.equal(new Set(servers.map(({ url }) => url)).size, 1);
        await factsOf(servers[0]);
      }
      await Promise.all(servers.map((server) => server.stop()));
    });

    it("is in a process group of its own, so that Ctrl-C in the terminal reaches the services first", async () => {
      const server = await start();
      const { pid } = await factsOf(server);
      process.kill(-pid, 0); // throws where no group has the server's number
      await server.stop();
    });
  });

  describe("that something is killed of", { concurrency: 1 }, () => {
    let folder: string;
    before(async () => void (folder = await copyOf(template)));
    after(() => rm(folder, { recursive: true, force: true }));
    const start = (options = {}) => startEmbeddedPostgres({ dataDir: folder, ...options });

    it("stops it also when the watch over it was killed", async () => {
      const server = await start();
      const { pid, dataDir } = await factsOf(server);
      for (const lease of await readdir(join(dataDir, "../watched/leases"))) process.kill(Number(lease), "SIGKILL");
      await server.stop();
      assert.equal(await isAlive(pid), false);
    });

    it("kills a server that does not stop, and says so", async () => {
      const log = new MemoryLog();
      const server = await start({ log: await createLogger({ destination: log }), stopTimeoutMs: 100 });
      const { pid } = await factsOf(server);
      process.kill(pid, "SIGSTOP");
      await server.stop();
      assert.equal(await isAlive(pid), false);
      assert.equal(log.withMessage("embedded PostgreSQL did not stop and was killed").length, 1);
      const next = await start();
      assert.equal(next.started, true);
      await next.stop();
    });

    it("ends with its last process, also when that is killed", async () => {
      const child = startInChild(folder);
      await answerOf(child);
      const joined = await start();
      const { pid } = await factsOf(joined);
      await joined.stop();
      assert.equal(await isAlive(pid), true);
      child.kill("SIGKILL");
      await until(async () => !(await isAlive(pid)));
      const again = await start();
      assert.equal(again.started, true);
      await again.stop();
    });

    it("uses a server that a killed process has left behind, and stops it then", async () => {
      const child = startInChild(folder);
      const { url } = await answerOf(child);
      const { pid, dataDir } = await factsOf({ url, started: true, stop: async () => {} });
      const leases = join(dataDir, "../watched/leases");
      for (const lease of await readdir(leases)) process.kill(Number(lease), "SIGKILL"); // the watch, so that nobody stops it
      child.kill("SIGKILL");
      await once(child, "exit");
      const joined = await start();
      assert.equal(joined.started, false);
      assert.equal(joined.url, url);
      await joined.stop();
      await until(async () => !(await isAlive(pid)));
    });

    for (const [whose, number] of [
      ["a process that has ended", 4_194_000],
      ["a process that is no PostgreSQL", process.pid],
      ["nobody, since a start was killed half-way", undefined],
    ] as const) {
      it(`is not held up by a pid file that names ${whose}`, async () => {
        const first = await start();
        const { dataDir } = await factsOf(first);
        await first.stop();
        const text = `${number}\n${dataDir}\n1700000000\n5432\n\n127.0.0.1\n 1 1\nready   \n`;
        await writeFile(join(dataDir, "postmaster.pid"), number === undefined ? "" : text);
        const second = await start();
        assert.equal(second.started, true);
        await second.stop();
      });
    }

    it("recovers what was committed before the server was killed", async () => {
      const first = await start();
      const db = openDatabase({ url: first.url, schema: "notes" });
      await db.connect();
      await db.query(sql`create table kept (n int)`);
      const { pid } = await factsOf(first);
      await db.close();
      process.kill(pid, "SIGKILL");
      const second = await start();
      assert.equal(second.started, true);
      const again = openDatabase({ url: second.url, schema: "notes" });
      assert.deepEqual((await again.query(sql`select count(*)::int as n from kept`)).rows, [{ n: 0 }]);
      await again.close();
      await first.stop();
      await second.stop();
    });
  });

  describe("at its beginning", { concurrency: 1 }, () => {
    let folder: string;
    before(async () => void (folder = await copyOf(template)));
    after(() => rm(folder, { recursive: true, force: true }));
    const start = (options = {}) => startEmbeddedPostgres({ dataDir: folder, ...options });

    const freshFolder = async (t: TestContext, make = openFolder): Promise<string> => {
      const fresh = await make();
      t.after(() => rm(fresh, { recursive: true, force: true }));
      return fresh;
    };

    it("keeps the data, and begins afresh when the folder is gone", async (t) => {
      const dataDir = await freshFolder(t, () => copyOf(template));
      const tables = async (work: "make" | "look"): Promise<number> => {
        const server = await start({ dataDir, fsync: false });
        const db = openDatabase({ url: server.url, schema: "notes" });
        await db.connect();
        if (work === "make") await db.query(sql`create table kept (n int)`);
        const { rows } = await db.query(sql`select 1 from pg_tables where schemaname = 'notes'`);
        await db.close();
        await server.stop();
        return rows.length;
      };
      assert.equal(await tables("make"), 1);
      assert.equal(await tables("look"), 1);
      await rm(dataDir, { recursive: true });
      assert.equal(await tables("look"), 0);
    });

    it("shares it among processes that start at once, also when they have to make it", async (t) => {
      const dataDir = await freshFolder(t);
      const children = [1, 2, 3].map(() => startInChild(dataDir));
      const answers = await Promise.all(children.map(answerOf));
      assert.equal(new Set(answers.map(({ url }) => url)).size, 1);
      assert.equal(answers.filter(({ started }) => started).length, 1);
      const joined = await start({ dataDir });
      assert.equal(joined.started, false);
      const { pid } = await factsOf(joined);
      const ends = children.map((child) => once(child, "exit"));
      for (const child of children) child.stdin.end();
      for (const end of await Promise.all(ends)) assert.deepEqual(end, [0, null]);
      assert.equal((await factsOf(joined)).pid, pid, "it runs on for the one that is left");
      await joined.stop();
      assert.equal(await isAlive(pid), false);
    });

    it("keeps the data beside the password, or in the shared folder where the server's account cannot reach that", async (t) => {
      const dataDir = await freshFolder(t);
      await chmod(dataDir, 0o700);
      const server = await start({ dataDir, fsync: false });
      const place = (await factsOf(server)).dataDir;
      await server.stop();
      const account = await serverAccount();
      const { id } = JSON.parse(await readFile(join(dataDir, "cluster.json"), "utf8"));
      const shared = join(await sharedFolder(account), "clusters", id);
      assert.equal(place, account ? join(shared, "data") : join(dataDir, "data"));
      if (!account) return;
      await rm(dataDir, { recursive: true });
      const long = new Date(Date.now() - 3_600_000);
      await utimes(join(shared, "folder"), long, long);
      const other = await freshFolder(t);
      await chmod(other, 0o700);
      const next = await start({ dataDir: other, fsync: false });
      await assert.rejects(stat(shared), { code: "ENOENT" }, "what stands for no folder any more is removed");
      const nextPlace = (await factsOf(next)).dataDir;
      await next.stop();
      await rm(join(nextPlace, ".."), { recursive: true });
    });

    it("says which port is taken", async () => {
      const taken = createServer();
      taken.listen(0, "127.0.0.1");
      await once(taken, "listening");
      const address = taken.address();
      assert.ok(typeof address === "object" && address);
      await assert.rejects(start({ port: address.port }), {
        code: "ERR_DATABASE_EMBEDDED",
        message: new RegExp(`did not start on port ${address.port} .*Address already in use`, "s"),
      });
      taken.close();
    });

    it("refuses data of another version and names the folder", async (t) => {
      const old = await freshFolder(t, () => copyOf(template));
      await writeFile(join(old, "data", "PG_VERSION"), "15\n");
      await assert.rejects(start({ dataDir: old }), {
        code: "ERR_DATABASE_EMBEDDED",
        message: new RegExp(`${old} was made by PostgreSQL 15`),
      });
    });

    it("gives up a start that is cancelled, and leaves nothing running", async () => {
      await assert.rejects(start({ signal: AbortSignal.abort() }), { name: "AbortError" });
      const next = await start();
      assert.equal(next.started, true);
      await next.stop();
    });

    for (const [name, value] of [
      ["port", -1],
      ["port", 65_536],
      ["port", 1.5],
      ["stopTimeoutMs", 0],
    ] as const) {
      it(`refuses ${name} ${value}`, async () => {
        await assert.rejects(start({ [name]: value }), {
          code: "ERR_OPTION_RANGE",
          message: new RegExp(`^${name} `),
        });
      });
    }
  });
});

describe("a start that meets the stop of the server before", () => {
  // the words of PostgreSQL's CreateLockFile and of its bind
  for (const said of [
    'FATAL:  lock file "postmaster.pid" already exists',
    'FATAL:  lock file "postmaster.pid" is empty',
    'FATAL:  could not remove old lock file "postmaster.pid": No such file or directory',
    'FATAL:  could not open lock file "postmaster.pid": No such file or directory',
    'FATAL:  bogus data in lock file "postmaster.pid": ""',
    "FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use",
  ]) {
    it(`is tried again when it hears: ${said}`, () => assert.match(said, passing));
  }

  it("is not tried again when nothing of that is the matter", () => {
    for (const said of ["FATAL:  data directory has invalid permissions", "FATAL:  could not open file"]) {
      assert.doesNotMatch(said, passing);
    }
  });
});

describe("the binaries", () => {
  const nobody = { name: "nobody", uid: 65_534, gid: 65_534 };
  let folder: string;
  let native: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "plinth-binaries-"));
    native = join(folder, "native");
    for (const path of ["bin/postgres", "bin/initdb", "lib/liba.so.1.2", "share/postgresql/postgres.bki"]) {
      await mkdir(join(native, path, ".."), { recursive: true });
      await writeFile(join(native, path), path, { mode: 0o700 });
    }
    await mkdir(join(native, "lib/postgresql"));
    const links = [{ source: "native/lib/liba.so.1.2", target: "native/lib/liba.so.1" }];
    await writeFile(join(native, "pg-symlinks.json"), JSON.stringify(links));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it("get the links between libraries that no install script has made", async () => {
    assert.equal(await makeLinks(native), true);
    assert.equal(await readFile(join(native, "lib/liba.so.1"), "utf8"), "lib/liba.so.1.2");
    assert.equal(await makeLinks(native), true, "and again");
  });

  it("are copied, once, to where the server's account can reach them", async () => {
    const version = `0.0.0-${folder.split("-").at(-1)}`;
    const places = await Promise.all([1, 2, 3].map(() => placeBinaries({ native, version }, nobody)));
    assert.equal(new Set(places).size, 1);
    const [place] = places;
    for (const path of ["bin/postgres", "lib/liba.so.1", "share/postgresql/postgres.bki"]) {
      assert.equal(await canReach(nobody, join(place!, path)), true);
    }
    assert.equal((await lstat(join(place!, "lib/liba.so.1"))).isSymbolicLink(), true);
    assert.equal(await placeBinaries({ native, version }, nobody), place);
    await rm(join(place!, ".."), { recursive: true });
    const left = (await readdir(await sharedFolder(nobody))).filter((name) => name.startsWith(version));
    assert.deepEqual(left, []);
  });

  it("are used where they are when that works", async () => {
    assert.equal(await placeBinaries({ native, version: "0" }, undefined), native);
  });
});
