// What stands between a pool and its servers: certificates, passwords that change, hosts that fail over, networks and servers that say nothing.
import assert from "node:assert/strict";
import { once } from "node:events";
import { chmod, chown, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { inspect } from "node:util";
import { type Database, DatabaseError, type DatabaseOptions, openDatabase, sql } from "@plinth/database";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "@plinth/database/embedded";
import { createLogger, createMetrics, messageOf } from "@plinth/kernel";
import { MemoryLog } from "@plinth/kernel/testing";
import { assertThrown } from "../../pkg/database/src/testing/until.ts";
import { makeCertificate } from "../../pkg/transport/src/testing/certificates.ts";
import { startFaultProxy } from "../support/fault-proxy.ts";
import { treeOf } from "../support/processes.ts";
import { until as untilWithin } from "../support/until.ts";

const limitMs = 15_000;
const until = (check: () => boolean | Promise<boolean>, what: string): Promise<void> =>
  untilWithin(check, what, limitMs);

const user = "mover";
const schema = "hosts";

let folder: string;
let server: EmbeddedPostgres;
let other: EmbeddedPostgres;
let dataDir: string;
let admin: Database;

const portOf = ({ url }: EmbeddedPostgres): number => Number(new URL(url).port);
/** The server by a name that is not this machine's, as far as anybody can tell. */
const lookup = async () => [{ address: "127.0.0.1", family: 4 }];
const named = (query = "", host = `db.test:${portOf(server)}`): string =>
  `postgres://${user}:one@${host}/postgres${query}`;
const plain = (query = "", host = `127.0.0.1:${portOf(server)}`): string => named(query, host);

const open = (options: Partial<DatabaseOptions> = {}): Database =>
  openDatabase({ url: named(), schema, lookup, maxConnections: 2, ...options });

/** Opened, connected, and closed in the end. */
async function using<T>(options: Partial<DatabaseOptions>, work: (db: Database) => Promise<T>): Promise<T> {
  const db = open(options);
  try {
    await db.connect();
    return await work(db);
  } finally {
    await db.close({ signal: AbortSignal.abort() });
  }
}

/** What the start fails with, at once. */
async function refusal(options: Partial<DatabaseOptions>): Promise<DatabaseError> {
  const error = await using(options, async () => assert.fail("it should have been refused")).catch((e: unknown) => e);
  assert.ok(error instanceof DatabaseError, inspect(error));
  return error;
}

async function fieldOf(db: Database, expression: ReturnType<typeof sql>): Promise<unknown> {
  return (await db.query(sql<{ value: unknown }>`select ${expression} as value`)).rows[0]?.value;
}
const pidOf = (db: Database): Promise<unknown> => fieldOf(db, sql`pg_backend_pid()`);
const serverPortOf = (db: Database): Promise<unknown> => fieldOf(db, sql`inet_server_port()`);

/** A file that only the server's account may read. */
async function serverFile(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text, { mode: 0o600 });
  const { uid, gid } = await stat(dataDir);
  await chown(path, uid, gid);
  return path;
}

async function set(name: string, value: string): Promise<void> {
  await admin.query(sql`alter system set ${sql.raw(name)} = ${sql.lit(value)}`);
}

/** Has the server read its configuration, and waits until a new session sees it. */
async function reload(isThere: () => Promise<boolean>): Promise<void> {
  await admin.query(sql`select pg_reload_conf()`);
  await until(isThere, "the server has read its configuration");
}

/** The certificate that the server shows now. */
async function fingerprint(): Promise<string | undefined> {
  const socket = connect(portOf(server), "127.0.0.1");
  socket.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]));
  const [answer] = await once(socket, "data");
  if (String(answer) !== "S") return undefined;
  const secure = connectTls({ socket, rejectUnauthorized: false });
  await once(secure, "secureConnect");
  const { fingerprint256 } = secure.getPeerCertificate();
  secure.destroy();
  return fingerprint256;
}

async function showCertificate({ cert, key }: { readonly cert: string; readonly key: string }): Promise<void> {
  const before = await fingerprint();
  await set("ssl_cert_file", await serverFile("server.crt", cert));
  await set("ssl_key_file", await serverFile("server.key", key));
  await set("ssl", "on");
  await reload(async () => {
    const now = await fingerprint();
    return now !== undefined && now !== before;
  });
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "plinth-hosts-"));
  await chmod(folder, 0o755); // the server's account may enter it
  [server, other] = await Promise.all([
    startEmbeddedPostgres({ dataDir: join(folder, "one"), fsync: false }),
    startEmbeddedPostgres({ dataDir: join(folder, "two"), fsync: false }),
  ]);
  for (const { url } of [other, server]) {
    admin = openDatabase({ url, schema: "public", createSchema: false, maxConnections: 1 });
    await admin.query(sql`create role ${sql.id(user)} login superuser password 'one'`);
    await admin.query(sql`create schema ${sql.id(schema)}`);
    await admin.query(sql`create table ${sql.id(schema, "notes")} (n int)`);
    if (url === other.url) await admin.close();
  }
  dataDir = String(await fieldOf(admin, sql`current_setting('data_directory')`));
});
after(async () => {
  await admin.close();
  await server.stop();
  await other.stop();
  await rm(folder, { recursive: true });
});

describe("a connection to another machine", { timeout: 60_000 }, () => {
  const authority = makeCertificate({ name: "authority" });
  const good = makeCertificate({ name: "db.test", issuer: authority });
  let caFile: string;
  before(async () => {
    caFile = join(folder, "ca.pem");
    await writeFile(caFile, authority.cert);
  });

  it("is refused where the server takes no TLS, and says how to allow it", async () => {
    const error = await refusal({});
    assert.equal(error.code, "ERR_DATABASE_TLS");
    assert.match(error.message, /at db\.test:\d+ does not take TLS; .*tls\.mode to off \(sslmode=disable/);
    await using({ url: named("?sslmode=disable") }, pidOf);
    await using({ tls: { mode: "off" } }, pidOf);
  });

  it("is encrypted and checked by default, and so is the request to cancel a statement", async () => {
    await showCertificate(good);
    await using proxy = await startFaultProxy(() => portOf(server));
    await using({ url: named("", `db.test:${proxy.port}`), tls: { caFile }, maxConnections: 1 }, async (db) => {
      assert.equal(await fieldOf(db, sql`(select ssl from pg_stat_ssl where pid = pg_backend_pid())`), true);
      const pid = await pidOf(db);
      const controller = new AbortController();
      const work = db.query(sql`select pg_sleep(60)`, { signal: controller.signal }).catch((error: unknown) => error);
      const running = sql`(select state = 'active' from pg_stat_activity where pid = ${pid})`;
      await until(async () => (await fieldOf(admin, running)) === true, "the statement runs");
      const connections = proxy.beginnings.length;
      controller.abort();
      assert.equal(Reflect.get(Object(await work), "code"), "ERR_DATABASE_CANCELLED");
      assert.equal(await pidOf(db), pid, "the session stands");
      assert.equal(proxy.beginnings.length, connections + 1, "one connection, for the request");
    });
    assert.deepEqual(new Set(proxy.beginnings), new Set([80_877_103]), "each began by asking for TLS");
  });

  const refused: readonly [string, () => Partial<DatabaseOptions>, RegExp][] = [
    [
      "an authority that is not trusted",
      () => ({}),
      /certificate of db\.test:\d+ is .*not trusted here; .*tls\.caFile/,
    ],
    [
      "another name",
      () => ({ url: named("", `other.test:${portOf(server)}`), tls: { caFile } }),
      /for another name \(.*other\.test.*\); .* tls\.serverName/,
    ],
    [
      "an authority in a file that is not there",
      () => ({ tls: { caFile: "/nowhere/ca.pem" } }),
      /file of tls\.caFile, \/nowhere\/ca\.pem, cannot be read: ENOENT/,
    ],
    ["a certificate without its key", () => ({ tls: { caFile, certFile: caFile } }), /tls\.certFile and tls\.keyFile/],
  ];
  for (const [what, options, message] of refused) {
    it(`is refused at once for ${what}, and says what to set`, async () => {
      const error = await refusal(options());
      assert.equal(error.code, "ERR_DATABASE_TLS");
      assert.match(error.message, message);
      assert.doesNotMatch(inspect(error), /:one@/);
    });
  }

  it("goes to a server of another name where that is said", async () => {
    await using({ url: named("", `other.test:${portOf(server)}`), tls: { caFile, serverName: "db.test" } }, pidOf);
  });

  it("does as sslmode says", async () => {
    const url = (query: string): string => named(query, `other.test:${portOf(server)}`);
    await using({ url: url("?sslmode=require") }, pidOf);
    await using({ url: url(`?sslmode=verify-ca&sslrootcert=${caFile}`) }, pidOf);
    const error = await refusal({ url: url(`?sslmode=verify-full&sslrootcert=${caFile}`) });
    assert.match(error.message, /for another name/);
    assert.match((await refusal({ url: url("?sslmode=verify-ca") })).message, /not trusted here/);
  });

  it("goes on with the authorities read last while their file is half written, and tells of that once", async () => {
    const ownFile = join(folder, "rotated.pem");
    await writeFile(ownFile, authority.cert);
    const destination = new MemoryLog();
    const log = await createLogger({ level: "warn", format: "json", destination });
    await using({ tls: { caFile: ownFile }, log }, async (db) => {
      await writeFile(ownFile, authority.cert.slice(0, 200));
      for (let round = 0; round < 2; round++) {
        await admin.query(sql`select pg_terminate_backend(pid) from pg_stat_activity where usename = ${user}`);
        await until(() => db.stats().idle === 0, "the connection is lost");
        await pidOf(db);
      }
      await log.flush();
      const told = destination.lines.filter(({ message }) => String(message).includes("tls.caFile"));
      assert.equal(told.length, 1, JSON.stringify(destination.lines));
    });
    assert.match((await refusal({ tls: { caFile: ownFile } })).message, /holds no whole certificate in PEM/);
  });

  it("shows a certificate of its own where the server asks for one", async () => {
    const own = makeCertificate({ name: user, issuer: authority });
    const certFile = join(folder, "client.crt");
    const keyFile = join(folder, "client.key");
    await writeFile(certFile, own.cert);
    await writeFile(keyFile, own.key);
    const hba = join(dataDir, "pg_hba.conf");
    const rules = await readFile(hba, "utf8");
    await set("ssl_ca_file", await serverFile("clients.crt", authority.cert));
    await writeFile(hba, `hostssl all ${user} all cert\n${rules}`);
    try {
      await admin.query(sql`select pg_reload_conf()`);
      await until(async () => (await using({ tls: { caFile } }, pidOf).catch(() => 0)) === 0, "the rule holds");
      const error = await refusal({ tls: { caFile } });
      assert.equal(error.code, "ERR_DATABASE_ACCESS");
      await using({ tls: { caFile, certFile, keyFile } }, pidOf);
      const wrong = await refusal({ tls: { caFile, certFile, keyFile: join(folder, "server.key") } });
      assert.match(wrong.message, /tls\.keyFile .*server\.key is of another certificate than tls\.certFile/);
    } finally {
      await writeFile(hba, rules);
      await reload(() => using({ tls: { caFile } }, pidOf).then(Boolean, () => false));
    }
  });

  it("is refused to a server whose certificate has expired", async () => {
    const nowMs = Date.now();
    const [fromMs, untilMs] = [nowMs - 7_200_000, nowMs - 3_600_000];
    await showCertificate(makeCertificate({ name: "db.test", issuer: authority, fromMs, untilMs }));
    const error = await refusal({ tls: { caFile } });
    assert.equal(error.code, "ERR_DATABASE_TLS");
    assert.match(error.message, /the certificate of db\.test:\d+ has expired; renew it at the server/);
  });

  it("stays in the open on this machine, unless something of TLS is set", async () => {
    const encrypted = sql`(select ssl from pg_stat_ssl where pid = pg_backend_pid())`;
    assert.equal(await using({ url: plain() }, (db) => fieldOf(db, encrypted)), false);
    assert.equal(await using({ url: plain(), tls: { mode: "unverified" } }, (db) => fieldOf(db, encrypted)), true);
    assert.match((await refusal({ url: plain(), tls: { caFile } })).message, /has expired/);
  });
});

describe("a password", { timeout: 60_000 }, () => {
  const setPassword = (text: string) => admin.query(sql`alter role ${sql.id(user)} password ${sql.lit(text)}`);
  const dropSessions = () =>
    admin.query(sql`select pg_terminate_backend(pid) from pg_stat_activity where usename = ${user}`);
  after(() => setPassword("one"));

  it("is read from its file for each new connection, so that it changes without a restart", async () => {
    const passwordFile = join(folder, "password");
    await writeFile(passwordFile, "one\n");
    await using({ url: plain().replace(":one@", ":wrong@"), passwordFile }, async (db) => {
      await setPassword("two");
      await dropSessions();
      await until(() => db.stats().idle === 0, "the connection is lost");
      const error = await pidOf(db).catch((thrown: unknown) => thrown);
      assertThrown(error, { code: "ERR_DATABASE_ACCESS", sqlState: "28P01" });
      await writeFile(passwordFile, "two\n");
      await until(() => pidOf(db).then(Boolean, () => false), "the new password is used");
      await rm(passwordFile);
      await dropSessions();
      await until(() => db.stats().idle === 0, "the connection is lost");
      assert.ok(await pidOf(db), "the last one is used while there is no file");
    });
    const absent = await refusal({ url: plain(), passwordFile });
    assert.equal(absent.code, "ERR_DATABASE_ACCESS");
    assert.match(absent.message, /file of passwordFile, .*password, cannot be read/);
  });

  it("is asked for once more when the server has refused it, and the other one is used at once", async () => {
    await setPassword("two");
    const asked: boolean[] = [];
    const password = async ({ refused }: { readonly refused: boolean }): Promise<string> => {
      asked.push(refused);
      return refused ? "two" : "one";
    };
    await using({ url: plain(), password }, pidOf);
    assert.deepEqual(asked.slice(0, 2), [false, true]);
    asked.length = 0;
    await using proxy = await startFaultProxy(() => portOf(server));
    const url = plain("", `127.0.0.1:${proxy.port}`);
    const error = await refusal({ url, password: () => (asked.push(true), "three") });
    assert.equal(error.code, "ERR_DATABASE_ACCESS");
    assert.deepEqual([asked.length, proxy.beginnings.length], [2, 1], "the same again is no reason to try again");
  });

  it("that cannot be had fails within the limit of a connection, with a reason", async () => {
    const options = { url: plain(), connectWaitMs: 0, connectTimeoutMs: 200 };
    const late = await refusal({ ...options, password: () => new Promise<string>(() => {}) });
    assert.match(late.message, /no connection to the database after 200 ms/);
    const vault = new Error("the vault is sealed");
    const failed = await refusal({ ...options, password: () => Promise.reject(vault) });
    assert.equal(failed.code, "ERR_DATABASE_UNAVAILABLE");
    assert.match(failed.message, /the password callback failed.*the vault is sealed/);
    assert.match((await refusal({ ...options, password: () => "" })).message, /gave no password/);
  });
});

describe("several hosts", { timeout: 60_000 }, () => {
  const both = (): string => plain("", `127.0.0.1:${portOf(server)},127.0.0.1:${portOf(other)}`);
  const setReadOnly = async (isReadOnly: boolean): Promise<void> => {
    await set("default_transaction_read_only", isReadOnly ? "on" : "off");
    const seen = sql`current_setting('default_transaction_read_only')`;
    await reload(
      async () => (await using({ url: plain() }, (db) => fieldOf(db, seen))) === (isReadOnly ? "on" : "off"),
    );
  };

  it("are tried in their order", async () => {
    assert.equal(await using({ url: both() }, serverPortOf), portOf(server));
    await using({ url: plain("", `127.0.0.1:1,127.0.0.1:${portOf(other)}`) }, async (db) => {
      assert.equal(await serverPortOf(db), portOf(other));
    });
  });

  it("are passed over when they say nothing, within the limit of one connection", async () => {
    await using proxy = await startFaultProxy(() => portOf(server));
    proxy.freeze();
    const options = { url: plain("", `127.0.0.1:${proxy.port},127.0.0.1:${portOf(other)}`), connectTimeoutMs: 1_000 };
    await using({ ...options, maxConnections: 3 }, async (db) => {
      assert.equal(await serverPortOf(db), portOf(other));
      const asked = proxy.beginnings.length;
      await Promise.all([1, 2, 3].map(() => db.query(sql`select pg_sleep(0.05)`)));
      assert.equal(proxy.beginnings.length, asked, "the one that worked is tried first from then on");
    });
  });

  it("that all fail are told of together, to whoever runs the service and not to callers", async () => {
    const db = open({ url: plain("", "127.0.0.1:1,127.0.0.1:2") });
    const error = await db.query(sql`select 1`).catch((thrown: unknown) => thrown);
    await db.close();
    assert.ok(error instanceof DatabaseError);
    assertThrown(error, {
      code: "ERR_DATABASE_UNAVAILABLE",
      message: "none of the 2 hosts of the database can be used",
    });
    assert.match(messageOf(error.cause), /^127\.0\.0\.1:1: .*ECONNREFUSED.*; 127\.0\.0\.1:2: .*ECONNREFUSED/);
  });

  it("are changed when the one in use takes no writes any more, and its connections go when they are given back", async () => {
    const metrics = createMetrics();
    await using({ url: both(), metrics, maxConnections: 3 }, async (db) => {
      const free = Promise.withResolvers<void>();
      const held = db.transaction(async (tx) => {
        await tx.query(sql`select 1`);
        await free.promise;
      });
      await db.query(sql`insert into notes values (1)`);
      await setReadOnly(true);
      const write = () => db.query(sql`insert into notes values (2)`);
      await until(
        () =>
          write().then(
            () => false,
            (error: unknown) => Reflect.get(Object(error), "sqlState") === "25006",
          ),
        "it is read-only",
      );
      await until(
        () =>
          write().then(
            () => true,
            () => false,
          ),
        "writes are taken",
      );
      assert.equal(await serverPortOf(db), portOf(other));
      free.resolve();
      await held;
      const { body } = await metrics.expose();
      const closed = /closed_total\{database="main",reason="failover"\} (\d+)\n/.exec(body)?.[1];
      assert.equal(closed, "2", "the one that was refused, and the one that was held");
    });
    try {
      assert.equal(await using({ url: both() }, serverPortOf), portOf(other), "a new pool passes it over as well");
      assert.equal(await using({ url: both(), hosts: "any" }, serverPortOf), portOf(server));
      const any = `${both()}?target_session_attrs=any`;
      assert.equal(await using({ url: any }, serverPortOf), portOf(server));
      assert.equal(await using({ url: plain() }, serverPortOf), portOf(server), "one host is taken as it is");
      const same = plain("", `127.0.0.1:${portOf(server)},127.0.0.1:${portOf(server)}`);
      const error = await refusal({ url: same, connectWaitMs: 0 });
      assert.equal(error.code, "ERR_DATABASE_READ_ONLY");
      assert.match(error.message, /none of the 2 hosts .*takes no writes: it is a standby/);
    } finally {
      await setReadOnly(false);
    }
  });

  it("are not changed because a transaction was read-only", async () => {
    await using({ url: both(), maxConnections: 1 }, async (db) => {
      const pid = await pidOf(db);
      const write = db.transaction((tx) => tx.query(sql`insert into notes values (3)`), { readOnly: true });
      await assert.rejects(write, { code: "ERR_DATABASE_READ_ONLY" });
      assert.equal(await pidOf(db), pid);
    });
  });

  it("are left alone where they are standbys, which follow another server", async () => {
    await admin.close();
    await server.stop();
    await writeFile(join(dataDir, "standby.signal"), "");
    const port = portOf(server);
    server = await startEmbeddedPostgres({ dataDir: join(folder, "one"), fsync: false, port });
    admin = openDatabase({ url: server.url, schema: "public", createSchema: false, maxConnections: 1 });
    assert.equal(await fieldOf(admin, sql`pg_is_in_recovery()`), true);
    assert.equal(await using({ url: both() }, serverPortOf), portOf(other));
    await using({ url: both(), hosts: "any" }, async (db) => {
      assert.equal(await serverPortOf(db), port);
      await assert.rejects(db.query(sql`insert into notes values (4)`), { code: "ERR_DATABASE_READ_ONLY" });
    });
    await admin.query(sql`select pg_promote()`);
    await using({ url: both() }, async (db) => {
      await until(async () => (await serverPortOf(db)) === port || true, "it answers");
      await db.query(sql`insert into notes values (5)`);
    });
  });
});

describe("a server that says nothing at all", { timeout: 60_000 }, () => {
  const unavailable = { code: "ERR_DATABASE_UNAVAILABLE", status: "unavailable", retryable: true };
  const limits = { maxConnections: 3, statementTimeoutMs: 200, connectTimeoutMs: 300 };

  /** Two ways to go silent, and to come back. */
  async function silences(): Promise<
    readonly [string, { port: number; freeze(): void; thaw(): void } & AsyncDisposable][]
  > {
    const proxy = await startFaultProxy(() => portOf(server));
    const postmaster = Number((await readFile(join(dataDir, "postmaster.pid"), "utf8")).split("\n")[0]);
    const signalAll = (signal: NodeJS.Signals): void => {
      for (const { pid } of treeOf(postmaster)) process.kill(pid, signal);
    };
    const stopped = {
      port: portOf(server),
      freeze: () => signalAll("SIGSTOP"),
      thaw: () => signalAll("SIGCONT"),
      [Symbol.asyncDispose]: async () => signalAll("SIGCONT"),
    };
    return [
      ["a network that swallows everything", proxy],
      ["a server that is stopped", stopped],
    ];
  }

  it("holds nobody up beyond the limits, is asked by one at a time, and is used again when it is back", async (t) => {
    for (const [what, way] of await silences()) {
      await using silence = way;
      const metrics = createMetrics();
      await using({ url: plain("", `127.0.0.1:${silence.port}`), ...limits, metrics }, async (db) => {
        await Promise.all([1, 2, 3].map(() => db.query(sql`select pg_sleep(0.05)`)));
        await until(() => db.stats().opening === 0, "the pool is full");
        silence.freeze();
        // One idle connection leads nowhere; it takes the others with it, so that each is not found out by somebody else.
        const first = await pidOf(db).catch((error: unknown) => error);
        assertThrown(first, { code: "ERR_DATABASE_TIMEOUT" });
        assert.deepEqual([db.stats().idle, db.stats().inUse], [0, 0]);
        await assert.rejects(pidOf(db), { ...unavailable, message: /^no connection to the database after 300 ms/ });

        const messages: string[] = [];
        const ask = async (): Promise<void> => {
          const error = await pidOf(db).catch((thrown: unknown) => thrown);
          assertThrown(error, unavailable);
          messages.push(messageOf(error));
        };
        const startedAtMs = performance.now();
        for (let round = 0; round < 60; round++) {
          await Promise.all(Array.from({ length: 10 }, ask));
          await delay(5);
        }
        const tookMs = performance.now() - startedAtMs;
        const { body } = await metrics.expose();
        const attempts = Number(
          /connect_duration_seconds_count\{database="main",outcome="unavailable"\} (\d+)/.exec(body)?.[1],
        );
        // Who was refused at once hears how long ago the last attempt was; the others have waited for one.
        const heldUp = messages.filter((message) => !message.includes("; this was ")).length;
        t.diagnostic(`${what}: ${heldUp} of ${messages.length} queries were held up, ${attempts} attempts to connect`);
        assert.ok(heldUp <= attempts, `${heldUp} were held up by ${attempts} attempts`);
        assert.ok(attempts <= 6 + tookMs / 1_000, `${attempts} attempts to connect in ${tookMs} ms`);
        assert.match(body, /database_pool_breaker_open\{database="main"\} 1\n/);
        assert.ok(Number(/pool_refused_total\{database="main"\} (\d+)/.exec(body)?.[1]) >= messages.length / 2);

        silence.thaw();
        await until(() => pidOf(db).then(Boolean, () => false), "it is used again");
        await Promise.all(Array.from({ length: 20 }, () => pidOf(db)));
        assert.equal(db.stats().breaker, "closed");
      });
    }
  });

  it("is found out by the health check while every connection is held, and those who wait are told", async () => {
    await using proxy = await startFaultProxy(() => portOf(server));
    const options = { url: plain("", `127.0.0.1:${proxy.port}`), maxConnections: 1, acquireTimeoutMs: 30_000 };
    await using(options, async (db) => {
      await db.health();
      const taken = Promise.withResolvers<void>();
      const free = Promise.withResolvers<void>();
      const held = db.transaction(async (tx) => {
        await tx.query(sql`select 1`);
        taken.resolve();
        await free.promise;
        await tx.query(sql`select 1`, { signal: AbortSignal.timeout(1) });
      });
      await taken.promise;
      const waiting = db.query(sql`select 1`).catch((error: unknown) => error);
      proxy.freeze();
      await assert.rejects(db.health({ signal: AbortSignal.timeout(600) }), { status: "deadline_exceeded" });
      assertThrown(await waiting, unavailable);
      await assert.rejects(db.query(sql`select 1`), {
        ...unavailable,
        message: /did not answer within \d+ ms; this was/,
      });
      free.resolve();
      await assert.rejects(held);
    });
  });
});
