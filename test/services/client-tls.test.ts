import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createServer } from "node:tls";
import { AppError, createMetrics } from "@plinth/kernel";
import { FakeClock } from "@plinth/kernel/testing";
import { createMemoryRegistry, createMemoryStore } from "@plinth/registry";
import { RpcError } from "@plinth/transport";
import { makeCertificate } from "../../pkg/transport/src/testing/certificates.ts";
import {
  type BalancedChannelOptions,
  createBalancedChannel,
  createIdentityClient,
  type ServiceTransport,
  userId,
} from "@plinth/services";
import { fakeIdentity, type ReferenceServer, referenceServer } from "@plinth/services/testing";

type Certificate = ReturnType<typeof makeCertificate>;

const authority = makeCertificate({ name: "authority" });
const stranger = makeCertificate({ name: "stranger" });
const issued = (name: string, issuer = authority): Certificate => makeCertificate({ name, issuer });
const ca = authority.cert;
const timeoutMs = 20_000;

let folder = "";
let files = 0;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "plinth-client-tls-"));
});
after(() => rmSync(folder, { recursive: true }));

function write(text: string): string {
  const path = join(folder, `${++files}.pem`);
  writeFileSync(path, text);
  return path;
}

for (const wire of ["grpc", "http"] as const satisfies readonly ServiceTransport[]) {
  describe(`a balanced channel with TLS over ${wire}`, () => {
    const begun: string[] = [];

    /** An instance that counts what it begins with. */
    function serve({ cert, key }: Certificate, { isMutual = false } = {}): Promise<ReferenceServer> {
      const fake = fakeIdentity();
      return referenceServer({
        identity: { ...fake, startEmailVerification: async (id) => void begun.push(id) },
        tls: {
          certFile: write(cert),
          keyFile: write(key),
          ...(isMutual ? { clientCertificate: "require", caFile: write(ca) } : {}),
        },
      });
    }

    const addressOf = ({ grpcAddress, httpUrl }: ReferenceServer): string =>
      wire === "grpc" ? grpcAddress : new URL(httpUrl).host;

    async function open(
      find: BalancedChannelOptions["find"],
      tls: NonNullable<BalancedChannelOptions["tls"]>,
      options: Partial<BalancedChannelOptions> = {},
    ) {
      const channel = await createBalancedChannel({ service: "identity", find, transport: wire, tls, ...options });
      const { clock } = options;
      const identity = createIdentityClient({ channel, timeoutMs, ...(clock && { clock }) });
      const call = async (): Promise<AppError | undefined> =>
        identity.startEmailVerification(userId(`u-${begun.length}`)).then(
          () => undefined,
          (error: unknown) => AppError.from(error),
        );
      return { channel, call, [Symbol.asyncDispose]: () => channel.close() };
    }

    /** How a call of one instance goes. */
    async function callOne(
      server: ReferenceServer,
      tls: NonNullable<BalancedChannelOptions["tls"]>,
    ): Promise<AppError | undefined> {
      await using running = server;
      await using client = await open({ addresses: [addressOf(running)] }, tls);
      return await client.call();
    }

    function isRefused(error: AppError | undefined, why: RegExp): void {
      assert.ok(error instanceof RpcError, String(error));
      assert.deepEqual([error.code, error.status, error.retryable], ["ERR_RPC_UNAVAILABLE", "unavailable", false]);
      assert.match(error.message, why);
      assert.ok(error.isUnsent);
    }

    it("calls instances that the registry names by the service's name, whatever their addresses", async () => {
      await using server = await serve(issued("identity"));
      const registry = createMemoryRegistry({ store: createMemoryStore() });
      const port = Number(addressOf(server).split(":")[1]);
      await registry.register({ service: "identity", id: "i-1", host: "127.0.0.1", ports: { [wire]: port } });
      await using client = await open({ registry }, { ca });
      assert.equal(await client.call(), undefined);
      await using other = await open({ registry }, { ca }, { service: "identity", tls: { ca, serverName: "billing" } });
      isRefused(await other.call(), /is for another name$/);
      await registry.close();
    });

    it("compares the certificate with the address, where it has no other name for it", async () => {
      assert.equal(await callOne(await serve(issued("whoever")), { ca }), undefined);
    });

    it("says why an instance is not trusted, and that nothing was sent", async () => {
      const before = begun.length;
      const strange = await serve(issued("identity", stranger));
      isRefused(await callOne(strange, { ca }), /no authority that is trusted/);
      isRefused(await callOne(await serve(issued("identity")), {}), /no authority that is trusted/);
      const named = await serve(issued("identity"));
      isRefused(await callOne(named, { ca, serverName: "billing" }), /is for another name$/);
      assert.equal(begun.length, before);
    });

    it("says that a certificate has expired", async () => {
      const nowMs = Date.now();
      const { cert, key } = makeCertificate({
        issuer: authority,
        fromMs: nowMs - 7_200_000,
        untilMs: nowMs - 3_600_000,
      });
      const server = createServer({ cert, key, ALPNProtocols: ["h2", "http/1.1"] }).on("tlsClientError", () => {});
      await once(server.listen(0, "127.0.0.1"), "listening");
      const address = server.address();
      assert.ok(typeof address === "object" && address !== null);
      await using client = await open({ addresses: [`127.0.0.1:${address.port}`] }, { ca });
      isRefused(await client.call(), /its certificate has expired$/);
      server.close();
    });

    it("does without an instance that is not trusted: its calls go to the others, once", async () => {
      await using bad = await serve(issued("identity", stranger));
      await using good = await serve(issued("identity"));
      await using client = await open({ addresses: [addressOf(bad), addressOf(good)] }, { ca });
      const before = begun.length;
      for (let n = 0; n < 6; n++) assert.equal(await client.call(), undefined);
      assert.equal(begun.length, before + 6);
    });

    it("shows its certificate to instances that ask for one, and is not answered without", async () => {
      const { cert, key } = issued("client");
      assert.equal(await callOne(await serve(issued("identity"), { isMutual: true }), { ca, cert, key }), undefined);
      const before = begun.length;
      for (const tls of [{ ca }, { ca, ...certificateOf(issued("client", stranger)) }]) {
        const error = await callOne(await serve(issued("identity"), { isMutual: true }), tls);
        assert.deepEqual([error?.code, error?.status], ["ERR_RPC_UNAVAILABLE", "unavailable"]);
      }
      assert.equal(begun.length, before);
    });

    it("takes new files for new connections, and keeps to the old ones while the new are of no use", async () => {
      const clock = new FakeClock(Date.now());
      const metrics = createMetrics();
      const told = { clock, metrics };
      await using server = await serve(issued("identity"), { isMutual: true });
      const old = issued("client", stranger);
      const tls = { caFile: write(ca), certFile: write(old.cert), keyFile: write(old.key) };
      await using client = await open({ addresses: [addressOf(server)] }, tls, {
        ...told,
        retries: false,
        breaker: false,
      });
      const looked = async (outcome: "loaded" | "refused"): Promise<void> => {
        const line = `tls_client_certificate_loads_total{peer="identity",outcome="${outcome}"} 1`;
        while (!(await metrics.expose()).body.includes(line)) await clock.advance(1_000);
      };
      assert.equal((await client.call())?.code, "ERR_RPC_UNAVAILABLE");
      const renewed = issued("client");
      writeFileSync(tls.certFile, renewed.cert); // and not yet its key
      await looked("refused");
      assert.equal((await client.call())?.code, "ERR_RPC_UNAVAILABLE");
      writeFileSync(tls.keyFile, renewed.key);
      await looked("loaded");
      const untilMs = performance.now() + timeoutMs;
      // a connection that could not be made is not tried again at once
      while ((await client.call()) !== undefined) {
        assert.ok(performance.now() < untilMs, "it is answered");
        await new Promise(setImmediate);
      }
    });

    it("is not made of files that are not there", async () => {
      const tls = { caFile: join(folder, "nothing.pem") };
      await assert.rejects(open({ addresses: ["127.0.0.1:1"] }, tls), { code: "ERR_TLS_FILE" });
    });
  });
}

function certificateOf({ cert, key }: Certificate) {
  return { cert, key };
}
