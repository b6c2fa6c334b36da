import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createServer } from "node:tls";
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
import type { ClientTls } from "./connect-options.ts";
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
