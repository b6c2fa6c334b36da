// What the workers of a gateway have together, while one is killed, the document is replaced, Redis hangs and all are told to stop.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe } from "node:test";
import { connect } from "node:tls";
import { signingKey, tokenOf } from "../../pkg/gateway/src/testing/issuer.ts";
import { makeCertificate } from "../../pkg/transport/src/testing/certificates.ts";
import { startRedis } from "../../scripts/servers/index.ts";
import { faultTest } from "../support/fault-row.ts";
import { type GatewayWorkers, startGatewayWorkers } from "../support/gateway-workers.ts";
import { asRecord } from "../support/json.ts";
import { startLoad, type LoadReport } from "../support/load.ts";
import { killNow } from "../support/processes.ts";
import { until } from "../support/until.ts";

const limitMs = 60_000;
const workers = 3;

function countOf({ statuses, broken }: LoadReport): { readonly sent: number; readonly failed: number } {
  const replies = Object.values(statuses).reduce((total, count) => total + count, 0);
  const refused = statuses["429 rate_limited"] ?? 0;
  return { sent: replies + broken.length, failed: replies - refused - (statuses["200"] ?? 0) + broken.length };
}

/** Kills the worker, and waits until another is in its place. */
async function replaceOne(gateway: GatewayWorkers): Promise<void> {
  const [victim = assert.fail()] = (await gateway.routes()).workers;
  killNow(victim.pid);
  await until(
    async () => {
      const now = (await gateway.routes()).workers;
      return now.length === workers && now.every(({ isReady, pid }) => isReady && pid !== victim.pid);
    },
    "another is in its place",
    limitMs,
  );
}

/** Statuses of one request after the other, each on a connection of its own, so that all workers have some. */
async function statusesOf(
  gateway: GatewayWorkers,
  path: string,
  times: number,
  options?: Parameters<GatewayWorkers["get"]>[1],
): Promise<number[]> {
  const statuses: number[] = [];
  for (let each = 0; each < times; each++) statuses.push((await gateway.get(path, options)).status);
  return statuses;
}

const through = (statuses: readonly number[]): number => statuses.filter((status) => status === 200).length;

describe("what the workers of a gateway have together", () => {
  faultTest(
    {
      fault: "gateway worker",
      done: "SIGKILL of one of three while a limit is used up and all places are in use",
      expected: "no more than the limit; places that the killed had are free again",
    },
    async (witness) => {
      const [limit, places, connections] = [400, 6, 12];
      await using gateway = await startGatewayWorkers({ workers, limit, places });
      const limited = startLoad({ url: `${gateway.url}/limited`, connections, perSecond: 200 });
      const capped = startLoad({ url: `${gateway.url}/capped`, connections });
      await limited.untilMore(limit / 4);
      const before = gateway.most();
      await replaceOne(gateway);
      await limited.untilMore(limit);
      const during = gateway.most();
      await capped.untilMore(100);
      const taken = await limited.stop();
      await capped.stop();
      const after = gateway.most();
      // a worker whose primary answers late goes by its share, beside what is lent
      for (const most of [before, during, after])
        assert.ok(most >= places - 1 && most <= places * 2, `${before}, ${during}, ${after} at one time`);
      const passed = taken.statuses["200"] ?? 0;
      const shares = await gateway.metric('gateway_rate_limit_events_total{policy="limited",event="share"}');
      assert.ok(passed <= limit + (shares > 0 ? limit : 0), `${passed} of ${limit}, ${shares} by shares`);
      assert.ok(passed >= limit - connections, `only ${passed} of ${limit}`);
      for (const { statuses, broken } of [taken, capped.report()]) {
        assert.deepEqual(
          Object.keys(statuses).filter((status) => status !== "200" && status !== "429 rate_limited"),
          [],
        );
        assert.ok(broken.length <= connections, broken.join("; "));
      }
      assert.equal(await gateway.metric('workers_restarts_total{reason="signal"}'), 1);
      witness.count(countOf(taken));
      witness.count(countOf(capped.report()));
      witness.saw(`${passed} of a limit of ${limit}; ${before}, ${during}, ${after} of ${places} places`);
    },
  );

  faultTest(
    {
      fault: "gateway with workers",
      done: "SIGTERM while requests wait for places",
      expected: "0 failed: whoever waits gets a place",
    },
    async (witness) => {
      await using gateway = await startGatewayWorkers({ workers, places: 4 });
      const load = startLoad({ url: `${gateway.url}/capped`, connections: 24 });
      await load.untilMore(200);
      gateway.program.signal("SIGTERM");
      await load.ended;
      assert.deepEqual(await gateway.program.exit, { code: 0, signal: null }, gateway.program.stderr());
      const report = load.report();
      witness.count(countOf(report));
      assert.deepEqual([Object.keys(report.statuses), report.broken], [["200"], []]);
      witness.saw(`${gateway.most()} of 4 places at one time`);
    },
  );

  faultTest(
    {
      fault: "gateway with workers",
      done: "Redis hangs, and is back, while a worker is killed",
      expected: "one limit of all workers, in shares while Redis hangs; no second one afterwards",
    },
    async (witness) => {
      const limit = 30;
      await using redis = await startRedis();
      const environment = { PLINTH_REDIS_URL: redis.url, PLINTH_REDIS_DEADLINE_MS: "500" };
      await using gateway = await startGatewayWorkers({ workers, limit, isShared: true, environment });
      const before = await statusesOf(gateway, "/limited", limit / 2);
      await replaceOne(gateway);
      before.push(...(await statusesOf(gateway, "/limited", limit)));
      await redis.kill("SIGSTOP");
      const other = { localAddress: "127.0.0.2" }; // a client that has its whole limit still
      const during = await statusesOf(gateway, "/limited", limit * 2, other);
      await redis.kill("SIGCONT");
      // requests ask it again, in each worker
      await until(
        async () => {
          during.push(...(await statusesOf(gateway, "/limited", workers, other)));
          return (await gateway.metric("gateway_rate_limit_store_degraded")) === 0;
        },
        "Redis counts again",
        limitMs,
      );
      const after = await statusesOf(gateway, "/limited", workers * 2);
      after.push(...(await statusesOf(gateway, "/limited", workers * 2, other)));
      const all = [...before, ...during, ...after];
      witness.count({ sent: all.length, failed: all.filter((status) => status !== 200 && status !== 429).length });
      witness.saw(`${through(before)} of a limit of ${limit}, ${through(during)} of another's while Redis hung`);
      assert.deepEqual(new Set(all), new Set([200, 429]));
      assert.equal(through(before), limit);
      assert.ok(through(during) > 0 && through(during) <= limit, `${through(during)} while it hung`);
      assert.equal(through(after), 0);
    },
  );

  faultTest(
    {
      fault: "gateway with workers",
      done: "WebSockets live over three documents, a worker that is killed, and a stop",
      expected: "those of the killed end, the rest go on, and end with 1001",
    },
    async (witness) => {
      await using gateway = await startGatewayWorkers({ workers });
      const sockets = Array.from({ length: 12 }, () => new WebSocket(`${gateway.url.replace("http", "ws")}/socket`));
      const ends = new Map<WebSocket, number>();
      for (const socket of sockets) socket.addEventListener("close", ({ code }) => ends.set(socket, code));
      await Promise.all(sockets.map((socket) => once(socket, "open")));
      const living = (): WebSocket[] => sockets.filter((socket) => !ends.has(socket));
      const talk = async (): Promise<void> => {
        const answers = living().map((socket) => once(socket, "message"));
        for (const socket of living()) socket.send("still here?");
        for (const [{ data }] of await Promise.all(answers)) assert.equal(data, "ok");
      };
      await talk();
      for (const next of [2, 3, 4]) {
        gateway.write({ limit: next });
        await until(async () => (await gateway.routes()).generation === next, "all have the document", limitMs);
        await talk();
      }
      assert.equal(ends.size, 0);
      await replaceOne(gateway);
      const broken = ends.size;
      assert.ok(broken > 0 && broken <= sockets.length / 2, `${broken} of ${sockets.length} ended`);
      await talk();
      gateway.program.signal("SIGTERM");
      await until(() => ends.size === sockets.length, "all have ended", limitMs);
      assert.deepEqual(await gateway.program.exit, { code: 0, signal: null }, gateway.program.stderr());
      assert.deepEqual([...ends.values()].slice(broken), Array(sockets.length - broken).fill(1001));
      witness.count({ sent: sockets.length, failed: broken });
    },
  );

  faultTest(
    {
      fault: "gateway with workers",
      done: "its certificate is renewed under load, and a worker replaced after that",
      expected: "0 failed but of the killed, and every worker shows the new one",
    },
    async (witness) => {
      const folder = mkdtempSync(join(tmpdir(), "plinth-gateway-workers-tls-"));
      witness.t.after(() => rmSync(folder, { recursive: true }));
      const authority = makeCertificate({ name: "authority" });
      const [certFile, keyFile] = [join(folder, "cert.pem"), join(folder, "key.pem")];
      const renew = (): void => {
        const { cert, key } = makeCertificate({ name: "localhost", issuer: authority });
        writeFileSync(keyFile, key);
        writeFileSync(certFile, cert);
      };
      renew();
      const environment = { PLINTH_GATEWAY_TLS_CERTIFICATES: JSON.stringify([{ certFile, keyFile }]) };
      await using gateway = await startGatewayWorkers({ workers, environment });
      const port = Number(new URL(gateway.url).port);
      const serialOf = async (): Promise<string | undefined> => {
        const socket = connect({ port, host: "127.0.0.1", servername: "localhost", ca: authority.cert });
        await once(socket, "secureConnect");
        const serial = socket.getPeerX509Certificate()?.serialNumber;
        socket.destroy();
        return serial;
      };
      // in turn to each of the workers
      const serials = async (): Promise<Set<string | undefined>> => {
        const seen: (string | undefined)[] = [];
        for (let each = 0; each < workers * 4; each++) seen.push(await serialOf());
        return new Set(seen);
      };
      const [first = assert.fail(), ...others] = await serials();
      assert.deepEqual(others, []);
      const url = gateway.url.replace("http", "https");
      const connections = 6;
      const load = startLoad({ url: `${url}/`, connections, ca: authority.cert });
      await load.untilMore(100);
      renew();
      await until(
        async () => {
          const now = await serials();
          return now.size === 1 && !now.has(first);
        },
        "all workers show the new certificate",
        limitMs,
      );
      await load.untilMore(100);
      assert.deepEqual([Object.keys(load.report().statuses), load.report().broken], [["200"], []]);
      const [second] = await serials();
      await replaceOne(gateway);
      assert.deepEqual([...(await serials())], [second]);
      const report = await load.stop();
      witness.count(countOf(report));
      assert.ok(report.broken.length <= connections, report.broken.join("; "));
    },
  );

  faultTest(
    {
      fault: "gateway with workers",
      done: "tokens are revoked by a file and by the code of one, and a worker is killed",
      expected: "refused by all workers, the one that takes its place included",
    },
    async (witness) => {
      const folder = mkdtempSync(join(tmpdir(), "plinth-gateway-workers-revoked-"));
      witness.t.after(() => rmSync(folder, { recursive: true }));
      const file = join(folder, "revoked.yaml");
      writeFileSync(file, "revocations: []\n");
      const key = signingKey("es");
      const tokens = new Map(["alice", "eve", "mallory"].map((subject) => [subject, tokenOf(key, { sub: subject })]));
      const main = join(import.meta.dirname, "../programs/revoking-gateway.ts");
      const environment = { PLINTH_GATEWAY_REVOCATIONS: file };
      await using gateway = await startGatewayWorkers({ workers, main, environment, jwk: key.jwk });
      let sent = 0;
      const seenOf = async (subject: string): Promise<number[]> => {
        const statuses = await statusesOf(gateway, "/private", workers * 4, {
          headers: { authorization: `Bearer ${tokens.get(subject)}` },
        });
        sent += statuses.length;
        return [...new Set(statuses)];
      };
      for (const subject of tokens.keys()) assert.deepEqual(await seenOf(subject), [200], subject);
      const { body } = await gateway.get(`${gateway.opsUrl}/revoke?subject=eve`);
      const isRefused = async (subject: string): Promise<boolean> => (await seenOf(subject)).join() === "401";
      await until(() => isRefused("eve"), "all refuse what code revoked", limitMs);
      writeFileSync(file, "revocations: [{ subject: mallory }]\n");
      await until(() => isRefused("mallory"), "all refuse what the file revoked", limitMs);
      // the very one that was told, for it alone has revoked
      const pid = Number(asRecord(JSON.parse(body))["pid"]);
      killNow(pid);
      await until(
        async () => {
          const now = (await gateway.routes()).workers;
          return now.length === workers && now.every((each) => each.isReady && each.pid !== pid);
        },
        "another is in its place",
        limitMs,
      );
      assert.deepEqual([await seenOf("alice"), await seenOf("eve"), await seenOf("mallory")], [[200], [401], [401]]);
      witness.count({ sent, failed: 0 });
    },
  );
});
