// Certificates of instances and of the gateway itself expire, are of another name, are half written and replaced, while load flows.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectSocket, createServer as createSocketServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe } from "node:test";
import { connect, createServer, type Server as TlsServer } from "node:tls";
import { makeCertificate } from "../../pkg/transport/src/testing/certificates.ts";
import { faultTest, type Witness } from "../support/fault-row.ts";
import { type Stage, startStage } from "../support/gateway-stage.ts";
import type { OpenLoadReport } from "../support/open-load.ts";
import { until } from "../support/until.ts";

const limitMs = 60_000;
const name = "orders.internal";
const authority = makeCertificate({ name: "authority" });
const another = makeCertificate({ name: "another" });
const good = makeCertificate({ name, issuer: authority });
const ended = makeCertificate({ name, issuer: authority, untilMs: Date.now() - 60_000 });
const stranger = makeCertificate({ name: "users.internal", issuer: authority });
const folder = mkdtempSync(join(tmpdir(), "plinth-certificates-"));

/** Each connection goes on to where `onward` leads, and both end together. */
function passing(server: Server | TlsServer, event: string, onward: () => Socket): AsyncDisposable & { cut(): void } {
  const sockets = new Set<Socket>();
  server.on(event, (socket: Socket) => {
    const other = onward();
    for (const [one, two] of [
      [socket, other],
      [other, socket],
    ] as const) {
      sockets.add(one);
      one
        .on("error", () => undefined)
        .once("close", () => {
          sockets.delete(one);
          two.destroy();
        });
      one.pipe(two);
    }
  });
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    cut,
    async [Symbol.asyncDispose]() {
      cut();
      server.close();
      await once(server, "close");
    },
  };
}

async function portOf(server: Server | TlsServer): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return address.port;
}

/** A load of its own for what holds now. */
async function flow(stage: Stage, witness: Witness, as: string, url?: string): Promise<OpenLoadReport> {
  const load = stage.load(url === undefined ? { name: as } : { name: as, url });
  await stage.more(load, 400);
  return stage.judge(load, witness);
}

const refusals = (stage: Stage, of: "tls" | "tls_client"): Promise<number> =>
  stage.metric(`${of}_certificate_loads_total`, { outcome: "refused" });

describe("certificates under load", () => {
  after(() => rmSync(folder, { recursive: true }));

  faultTest(
    {
      fault: "37 instances' certificates",
      done: "expired, then of another name, then good again; the file of authorities half written, then another, and certificates by it",
      expected: "502 upstream_untrusted for the service alone while they are wrong; otherwise 0 failed",
      limitMs: 200_000,
    },
    async (witness) => {
      const caFile = join(folder, "authorities.pem");
      writeFileSync(caFile, authority.cert);
      let port = 0;
      const server = createServer({ cert: good.cert, key: good.key });
      server.on("tlsClientError", () => undefined);
      await using front = passing(server, "secureConnection", () => connectSocket(port, "127.0.0.1"));
      const frontPort = await portOf(server);
      await using stage = await startStage({
        processes: 1,
        through: ([own = 0]) => {
          port = own;
          return [frontPort];
        },
        service: { tls: { caFile, serverName: name } },
      });
      const show = ({ cert, key }: typeof good): void => {
        server.setSecureContext({ cert, key });
        front.cut();
      };
      assert.deepEqual((await flow(stage, witness, "good")).failures, {});
      for (const [as, certificate] of [
        ["ended", ended],
        ["stranger", stranger],
      ] as const) {
        show(certificate);
        const { failures, sent, tookMs } = await flow(stage, witness, as);
        assert.deepEqual(Object.keys(failures).toSorted(), [
          "GET 502 upstream_untrusted",
          "POST 502 upstream_untrusted",
        ]);
        assert.ok(tookMs.length >= Math.floor(sent / 4) && tookMs.every(({ service }) => service === "users"));
      }
      show(good);
      assert.deepEqual((await flow(stage, witness, "again")).failures, {});

      writeFileSync(caFile, another.cert.slice(0, 200));
      await until(async () => (await refusals(stage, "tls_client")) > 0, "half a file is refused", limitMs);
      front.cut(); // new connections are verified by what was there before
      assert.deepEqual((await flow(stage, witness, "half")).failures, {});
      writeFileSync(caFile, authority.cert + another.cert);
      await until(
        async () => (await stage.metric("tls_client_certificate_loads_total", { outcome: "loaded" })) > 0,
        "both authorities are known",
        limitMs,
      );
      show(makeCertificate({ name, issuer: another }));
      assert.deepEqual((await flow(stage, witness, "rotated")).failures, {});
    },
  );

  faultTest(
    {
      fault: "37 the gateway's own certificate",
      done: "half written over, then replaced, under load over TLS on new connections and open ones",
      expected: "0 failed; the one before is shown until the new one is whole",
      limitMs: 200_000,
    },
    async (witness) => {
      const certFile = join(folder, "own.crt");
      const keyFile = join(folder, "own.key");
      const own = makeCertificate({ name: "gateway.example", issuer: authority });
      const next = makeCertificate({ name: "gateway.example", issuer: authority });
      writeFileSync(certFile, own.cert);
      writeFileSync(keyFile, own.key);
      await using stage = await startStage({
        environment: { PLINTH_GATEWAY_TLS_CERTIFICATES: JSON.stringify([{ certFile, keyFile }]) },
      });
      const dial = () =>
        connect({ port: stage.port, host: "127.0.0.1", ca: authority.cert, servername: "gateway.example" });
      const shown = async (): Promise<string | undefined> => {
        const socket = dial();
        await once(socket, "secureConnect");
        const serial = socket.getPeerX509Certificate()?.serialNumber;
        socket.destroy();
        return serial;
      };
      const server = createSocketServer();
      await using front = passing(server, "connection", dial);
      const url = `http://127.0.0.1:${await portOf(server)}`;
      const first = await shown();
      const load = stage.load({ url });
      await stage.more(load, 400);
      writeFileSync(certFile, next.cert.slice(0, 300));
      await until(async () => (await refusals(stage, "tls")) > 0, "half a certificate is refused", limitMs);
      assert.equal(await shown(), first);
      await stage.more(load, 200);
      writeFileSync(certFile, next.cert); // whose key is another
      await stage.more(load, 400);
      assert.equal(await shown(), first);
      writeFileSync(keyFile, next.key);
      await until(async () => (await shown()) !== first, "the new one is shown", limitMs);
      await stage.more(load, 400);
      assert.deepEqual((await stage.judge(load, witness)).failures, {});
      const others = await flow(stage, witness, "new", url); // on connections of its own
      assert.deepEqual(others.failures, {});
      front.cut();
    },
  );
});
