import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { connect, type TLSSocket } from "node:tls";
import { Client, credentials, status } from "@grpc/grpc-js";
import { FakeClock } from "@plinth/kernel/testing";
import { EchoService } from "../gen/plinth/transport/testing/v1/echo_pb.ts";
import { makeCertificate, type TestCertificate } from "../testing/certificates.ts";
import { startGrpc, type TestGrpc } from "../testing/grpc.ts";
import { failureOf } from "../testing/grpc-client.ts";
import { tlsSettings } from "../tls/settings.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "plinth-grpc-tls-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const authority = makeCertificate({ name: "authority" });
const file = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};
const write = ({ cert, key }: TestCertificate) => ({ certFile: file("tls.crt", cert), keyFile: file("tls.key", key) });

function say(
  grpc: TestGrpc,
  client?: TestCertificate,
): { readonly reply: Promise<unknown>; readonly close: () => void } {
  const pem = (text: string | undefined) => (text === undefined ? null : Buffer.from(text));
  const channel = credentials.createSsl(Buffer.from(authority.cert), pem(client?.key), pem(client?.cert));
  const connection = new Client(`127.0.0.1:${grpc.server.port}`, channel, {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.ssl_target_name_override": "localhost",
  });
  const reply = new Promise((resolve, reject) => {
    connection.makeUnaryRequest(
      `/${EchoService.typeName}/Say`,
      (bytes: Buffer) => bytes,
      (bytes) => bytes,
      Buffer.alloc(0),
      { deadline: Date.now() + 20_000 },
      (error, bytes) => (error ? reject(error) : resolve(bytes)),
    );
  });
  return { reply, close: () => connection.close() };
}

async function served(grpc: TestGrpc): Promise<TLSSocket> {
  const socket = connect({ port: grpc.server.port, host: "127.0.0.1", ca: authority.cert, ALPNProtocols: ["h2"] });
  await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
  return socket;
}

const refusal = "the new certificate cannot be used, and the one before stays";

/** Lets the files be looked at until something is known of them. */
async function look(clock: FakeClock, isKnown: () => boolean): Promise<void> {
  for (let looks = 0; looks < 100 && !isKnown(); looks++) {
    await clock.advance(1_000);
    for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
  }
  assert.ok(isKnown());
}

describe("a gRPC server with TLS", () => {
  it("uses a new certificate for new connections, keeps the old ones, and keeps what it has for a bad one", async () => {
    const clock = new FakeClock(Date.now());
    const first = makeCertificate({ issuer: authority });
    const tls = tlsSettings.parse(write(first));
    await using grpc = await startGrpc({ clock, settings: { tls } });
    const old = await served(grpc);
    const serial = old.getPeerCertificate().serialNumber;
    const fine = say(grpc);
    await fine.reply;
    fine.close();
    const next = makeCertificate({ issuer: authority });
    const bad = [next.cert.slice(0, 250), next.cert]; // half written, then of another key
    for (const [at, text] of bad.entries()) {
      file("tls.crt", text);
      await look(clock, () => grpc.lines.withMessage(refusal).length > at);
      const socket = await served(grpc);
      assert.equal(socket.getPeerCertificate().serialNumber, serial);
      socket.destroy();
    }
    assert.match(
      (await grpc.metrics.expose()).body,
      /^tls_certificate_loads_total\{listener="grpc",outcome="refused"\} 2$/m,
    );
    file("tls.key", next.key);
    await look(clock, () => grpc.lines.withMessage("a new certificate is used").length > 0);
    const fresh = await served(grpc);
    assert.notEqual(fresh.getPeerCertificate().serialNumber, serial);
    assert.equal(old.destroyed, false);
    for (const socket of [old, fresh]) socket.destroy();
  });

  it("refuses to start with what is no certificate, and names the file", async () => {
    const tls = tlsSettings.parse({ certFile: file("tls.crt", "x"), keyFile: file("tls.key", "y") });
    await assert.rejects(startGrpc({ settings: { tls } }), { code: "ERR_TLS_FILE", message: /tls\.crt/ });
  });

  it("asks clients for certificates: none or a foreign one is refused, a good one is shown to the authenticator", async () => {
    const own = makeCertificate({ issuer: authority });
    const caFile = file("ca.crt", authority.cert);
    const tls = tlsSettings.parse({ ...write(own), caFile, clientCertificate: "require" });
    const stranger = makeCertificate({ name: "stranger" });
    const known = makeCertificate({ name: "known", issuer: authority });
    await using grpc = await startGrpc({
      settings: { tls },
      authenticator: {
        authenticate: ({ peerCertificate }) =>
          peerCertificate && { subject: String(peerCertificate.subject.CN), scopes: [], claims: {} },
      },
      handlers: { say: (_request, { identity }) => (assert.equal(identity?.subject, "known"), {}) },
    });
    for (const certificate of [undefined, stranger]) {
      const call = say(grpc, certificate);
      assert.equal((await failureOf(call.reply)).code, status.UNAVAILABLE);
      call.close();
    }
    const call = say(grpc, known);
    await call.reply;
    call.close();
  });

  it("serves who shows no certificate where that is allowed, and nobody with a foreign one", async () => {
    const own = makeCertificate({ issuer: authority });
    const caFile = file("ca.crt", authority.cert);
    const tls = tlsSettings.parse({ ...write(own), caFile, clientCertificate: "request" });
    await using grpc = await startGrpc({ settings: { tls } });
    const call = say(grpc);
    await call.reply;
    call.close();
    const foreign = say(grpc, makeCertificate({ name: "stranger" }));
    assert.equal((await failureOf(foreign.reply)).code, status.UNAVAILABLE);
    foreign.close();
    assert.match((await grpc.metrics.expose()).body, /refused_connections_total\{reason="certificate"\} [1-9]/);
  });
});
