import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createServer, type TLSSocket } from "node:tls";
import { createLogger, createMetrics } from "@plinth/kernel";
import { FakeClock, MemoryLog } from "@plinth/kernel/testing";
import { EchoService } from "../../gen/plinth/transport/testing/v1/echo_pb.ts";
import { createGrpcChannel } from "../../grpc/client/channel.ts";
import { makeCertificate, type TestCertificate } from "../../testing/certificates.ts";
import { echoHandlers, startGrpc } from "../../testing/grpc.ts";
import { startHttp } from "../../testing/http.ts";
import { tlsSettings, type TlsSettings } from "../../tls/settings.ts";
import { connectRoutes } from "../connect.ts";
import { rpcService } from "../service.ts";
import type { RpcChannel } from "./channel.ts";
import { createRpcClient } from "./client.ts";
import { createConnectChannel } from "./connect-channel.ts";
import type { ClientTls } from "../../tls/client.ts";
import { RpcError } from "./errors.ts";

const authority = makeCertificate({ name: "authority" });
const stranger = makeCertificate({ name: "stranger" });
const hourMs = 3_600_000;

let folder = "";
let files = 0;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "plinth-rpc-tls-"));
});
after(() => rmSync(folder, { recursive: true }));

function write(text: string): string {
  const path = join(folder, `${++files}.pem`);
  writeFileSync(path, text);
  return path;
}

const serving = ({ cert, key }: TestCertificate, more: Partial<TlsSettings> = {}): TlsSettings =>
  tlsSettings.parse({ certFile: write(cert), keyFile: write(key), ...more });
const mutual = (): TlsSettings =>
  serving(makeCertificate({ issuer: authority }), {
    clientCertificate: "require",
    caFile: write(authority.cert),
  });

type Wire = "grpc" | "connect";

interface Called {
  /** Absent: the server speaks in the clear. */
  readonly serverTls?: TlsSettings | undefined;
  /** Absent: the client speaks in the clear. */
  readonly tls?: ClientTls | undefined;
}

const openChannel = (wire: Wire, port: number, tls?: ClientTls): Promise<RpcChannel> =>
  wire === "grpc"
    ? createGrpcChannel({ peer: "echo", address: `127.0.0.1:${port}`, ...(tls && { tls }) })
    : createConnectChannel({ peer: "echo", url: `${tls ? "https" : "http"}://127.0.0.1:${port}`, ...(tls && { tls }) });

/** What one call says, or fails with. */
async function callOn(channel: RpcChannel): Promise<unknown> {
  try {
    return (await createRpcClient(EchoService, { channel, timeoutMs: 20_000 }).say({ text: "hello" })).text;
  } catch (error) {
    return error;
  } finally {
    await channel.close();
  }
}

/** The same of a server of ours. */
async function call(wire: Wire, { serverTls, tls }: Called): Promise<unknown> {
  const settings = serverTls === undefined ? {} : { tls: serverTls };
  await using server =
    wire === "grpc"
      ? await startGrpc({ settings })
      : await startHttp({ settings, routes: connectRoutes([rpcService(EchoService, echoHandlers)]) });
  return await callOn(await openChannel(wire, server.server.port, tls));
}

function assertUnavailable(error: unknown, message: RegExp): void {
  assert.ok(error instanceof RpcError, String(error));
  assert.deepEqual([error.code, error.status, error.peer], ["ERR_RPC_UNAVAILABLE", "unavailable", "echo"]);
  assert.match(error.message, message);
  assert.ok(error.cause instanceof Error);
}

for (const wire of ["grpc", "connect"] as const) {
  describe(`the client over TLS: ${wire}`, { timeout: 60_000 }, () => {
    const ours = (): TlsSettings => serving(makeCertificate({ issuer: authority }));
    const client = (issuer = authority): TestCertificate => makeCertificate({ name: "client", issuer });
    const ca = authority.cert;

    it("calls a server that its authority vouches for, by address and by name", async () => {
      assert.equal(await call(wire, { serverTls: ours(), tls: { ca } }), "hello");
      const named = serving(makeCertificate({ issuer: authority, name: "billing" }));
      assert.equal(await call(wire, { serverTls: named, tls: { ca, serverName: "billing" } }), "hello");
    });

    it("shows its own certificate to a server that asks for one", async () => {
      const { cert, key } = client();
      assert.equal(await call(wire, { serverTls: mutual(), tls: { ca, cert, key } }), "hello");
    });

    const failures: readonly (readonly [what: string, given: () => Called, message: RegExp])[] = [
      ["of another authority", () => ({ serverTls: serving(client(stranger)), tls: { ca } }), /no authority that is/],
      ["of an authority that Node does not know", () => ({ serverTls: ours(), tls: {} }), /no authority that is/],
      ["of another name", () => ({ serverTls: ours(), tls: { ca, serverName: "billing" } }), /is for another name$/],
      ["that has none", () => ({ tls: { ca } }), /does not speak TLS as this client does$/],
      ["that wants TLS", () => ({ serverTls: ours() }), /cannot be reached|was lost/],
      ["that wants a certificate", () => ({ serverTls: mutual(), tls: { ca } }), /cannot be reached|was lost/],
      [
        "that wants a certificate of another authority",
        () => ({ serverTls: mutual(), tls: { ca, ...client(stranger) } }),
        /cannot be reached|was lost/,
      ],
    ];
    for (const [what, given, message] of failures)
      it(`is told at once that a server ${what} is unavailable, and why where it can know`, async () => {
        assertUnavailable(await call(wire, given()), message);
      });

    const nowMs = Date.now();
    for (const [what, times, message] of [
      ["has expired", { untilMs: nowMs - hourMs, fromMs: nowMs - 2 * hourMs }, /its certificate has expired$/],
      ["is not valid yet", { fromMs: nowMs + hourMs }, /its certificate is not valid yet$/],
    ] as const)
      it(`is told that a certificate ${what}`, async () => {
        const server = createServer({
          ...makeCertificate({ issuer: authority, ...times }),
          ALPNProtocols: ["h2", "http/1.1"],
        });
        server.on("tlsClientError", () => {}).listen(0, "127.0.0.1");
        await once(server, "listening");
        try {
          const address = server.address();
          assert.ok(typeof address === "object" && address !== null);
          const error = await callOn(await openChannel(wire, address.port, { ca }));
          assertUnavailable(error, message);
          assert.ok(error instanceof RpcError && error.isUnsent);
        } finally {
          server.close();
        }
      });
  });
}

/** What a server has seen of each connection, which it ends. */
interface Seen {
  readonly port: number;
  readonly shown: string[];
  close(): void;
}

async function startSeeing(by: TestCertificate): Promise<Seen> {
  const shown: string[] = [];
  const server = createServer(
    { cert: by.cert, key: by.key, requestCert: true, rejectUnauthorized: false, ALPNProtocols: ["h2", "http/1.1"] },
    (socket: TLSSocket) => {
      shown.push(socket.isSessionReused() ? "the one before" : String(socket.getPeerCertificate().subject?.CN));
      socket.on("error", () => {});
      socket.once("data", () => socket.destroy());
    },
  );
  server.on("tlsClientError", () => shown.push("refused"));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return { port: address.port, shown, close: () => void server.close() };
}

for (const wire of ["grpc", "connect"] as const) {
  describe(`what a client has from files: ${wire}`, { timeout: 60_000 }, () => {
    const named = (name: string): TestCertificate => makeCertificate({ name, issuer: authority });
    /** A channel whose certificate and authorities are in files, and ways to put others there. */
    async function open(certificate: TestCertificate) {
      const [clock, metrics, lines] = [new FakeClock(Date.now()), createMetrics(), new MemoryLog()];
      const log = await createLogger({ destination: lines });
      const tls = { caFile: write(authority.cert), certFile: write(certificate.cert), keyFile: write(certificate.key) };
      const seen = await startSeeing(named("server"));
      const options = { peer: "echo", clock, metrics, log, tls };
      const channel =
        wire === "grpc"
          ? await createGrpcChannel({
              ...options,
              address: `127.0.0.1:${seen.port}`,
              minReconnectMs: 1,
              maxReconnectMs: 1,
            })
          : await createConnectChannel({ ...options, url: `https://127.0.0.1:${seen.port}` });
      const client = createRpcClient(EchoService, { channel, timeoutMs: 20_000 });
      return {
        clock,
        metrics,
        lines,
        tls,
        client,
        put({ cert, key }: TestCertificate): void {
          writeFileSync(tls.certFile, cert);
          writeFileSync(tls.keyFile, key);
        },
        /** Calls, on a connection of its own, and tells what the server saw. */
        async call(): Promise<string | undefined> {
          const { length } = seen.shown;
          while (seen.shown.length === length) await assert.rejects(client.say({ text: "hello" }));
          return seen.shown.at(-1);
        },
        /** Lets time pass until the files have been looked at with this outcome. */
        async looked(outcome: "loaded" | "refused"): Promise<void> {
          const line = `tls_client_certificate_loads_total{peer="echo",outcome="${outcome}"} 1`;
          while (!(await metrics.expose()).body.includes(line)) await clock.advance(1_000);
        },
        async [Symbol.asyncDispose](): Promise<void> {
          await channel.close();
          seen.close();
        },
      };
    }

    it("is read again when it changes, for new connections", async () => {
      await using renewing = await open(named("first"));
      assert.equal(await renewing.call(), "first");
      renewing.put(named("second"));
      await renewing.looked("loaded");
      assert.equal(await renewing.call(), "second");
      assert.equal(renewing.lines.withMessage("a new certificate is used").length, 1);
      assert.match(
        (await renewing.metrics.expose()).body,
        /^tls_client_certificate_expiry_timestamp_seconds\{peer="echo"\} \d/m,
      );
    });

    it("stays as it was while what is new cannot be used, which is told of once", async () => {
      await using renewing = await open(named("first"));
      writeFileSync(renewing.tls.certFile, named("second").cert.slice(0, 200));
      await renewing.looked("refused");
      await renewing.clock.advance(5_000);
      assert.equal(await renewing.call(), "first");
      const [line, ...more] = renewing.lines.lines.filter(({ level }) => level === "error");
      assert.match(String(line?.message), /the one before stays/);
      assert.deepEqual([line?.peer, more], ["echo", []]);
      renewing.put(named("third"));
      await renewing.looked("loaded");
      assert.equal(await renewing.call(), "third");
    });

    it("is whom it trusts, too", async () => {
      await using renewing = await open(named("first"));
      writeFileSync(renewing.tls.caFile, stranger.cert);
      await renewing.looked("loaded");
      await assert.rejects(renewing.client.say({ text: "hello" }), { message: /no authority that is/ });
    });

    it("is not looked at any more when the channel is closed", async () => {
      const renewing = await open(named("first"));
      await renewing[Symbol.asyncDispose]();
      await renewing.clock.advance(10_000); // an ongoing look ends
      assert.equal(renewing.clock.pending, 0);
    });

    for (const [what, tls, fault] of [
      [
        "a file that is not there",
        { caFile: "/nowhere/ca.pem" },
        { code: "ERR_TLS_FILE", message: /\/nowhere\/ca\.pem/ },
      ],
      ["a text and a file", { ca: "x", caFile: "y" }, { code: "ERR_OPTION_TYPE", message: /tls\.ca and tls\.caFile/ }],
      ["a certificate without a key", { certFile: "x" }, { code: "ERR_OPTION_TYPE", message: /without its key/ }],
      ["a key that stays", { certFile: "x", key: "y" }, { code: "ERR_OPTION_TYPE", message: /both as files/ }],
    ] as const) {
      it(`is no channel with ${what}`, async () => {
        await assert.rejects(openChannel(wire, 1, tls), fault);
      });
    }
  });
}
