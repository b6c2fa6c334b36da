import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createSocketServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { createServer, type TlsOptions } from "node:tls";
import { systemClock } from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import { makeCertificate } from "../../pkg/transport/src/testing/certificates.ts";
import type { UpstreamTlsConfig } from "../../pkg/gateway/src/config/schema-upstream-tls.ts";
import type { GatewayDocument } from "../../pkg/gateway/src/config/schema.ts";
import { openRoute, startGateway } from "../../pkg/gateway/src/testing/kit.ts";
import { createHttp1Upstream } from "../../pkg/gateway/src/upstream/http1.ts";
import { openUpstreamTls, type UpstreamTls } from "../../pkg/gateway/src/upstream/tls.ts";
import type { Upstream, UpstreamFailure } from "../../pkg/gateway/src/upstream/upstream.ts";

const authority = makeCertificate({ name: "authority" });
const other = makeCertificate({ name: "other" });
const own = makeCertificate({ name: "orders.internal", issuer: authority });
const ended = makeCertificate({ name: "orders.internal", issuer: authority, untilMs: Date.now() - 60_000 });
const client = makeCertificate({ name: "gateway", issuer: authority });

describe("TLS to an instance", () => {
  const folder = mkdtempSync(join(tmpdir(), "plinth-upstream-tls-"));
  const file = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };
  let caFile = "";
  let server: Server | undefined;
  let upstream: Upstream | undefined;
  let tls: UpstreamTls | undefined;
  let resumed: boolean[] = [];
  let names: (string | false | null)[] = [];

  before(() => {
    caFile = file("ca.pem", authority.cert);
  });
  afterEach(() => {
    upstream?.destroy();
    tls?.close();
    server?.close();
    resumed = [];
    names = [];
  });
  after(() => rmSync(folder, { recursive: true }));

  /** An instance that ends each connection with its reply, and the way to it. */
  async function start(
    options: TlsOptions,
    config: Partial<UpstreamTlsConfig> = {},
    clock = systemClock,
  ): Promise<void> {
    const own = createServer(options, (socket) => {
      resumed.push(socket.isSessionReused());
      names.push(socket.servername);
      socket.on("error", () => undefined);
      socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"));
    });
    await listen(
      own.on("tlsClientError", () => undefined),
      config,
      clock,
    );
  }

  async function listen(listening: Server, config: Partial<UpstreamTlsConfig>, clock = systemClock): Promise<void> {
    server = listening.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    assert.ok(typeof address === "object" && address !== null);
    tls = openUpstreamTls({ config: { caFile, minVersion: "TLSv1.2", ...config }, service: "orders", clock });
    const times = { connectTimeoutMs: 10_000, headersTimeoutMs: 10_000, bodyGapMs: 10_000 };
    upstream = createHttp1Upstream({ authority: `127.0.0.1:${address.port}`, ...times, maxConnections: 9, clock, tls });
  }

  function get(): Promise<string> {
    const { promise, resolve } = Promise.withResolvers<string>();
    let body = "";
    upstream?.send(
      { method: "GET", target: "/", headers: ["host", "a"], body: null },
      {
        onHead: (status) => (body += `${status} `),
        onUpgrade: (_headers, socket) => socket.destroy(),
        onData: (chunk) => (body += chunk.toString()) !== "",
        onEnd: () => resolve(body),
        onFailure: ({ kind, sent }: UpstreamFailure) => resolve(sent ? `${kind} after it was sent` : kind),
      },
    );
    return promise;
  }

  it("is spoken with an instance whose certificate is of its address, with no name to ask for", async () => {
    await start(own);
    assert.equal(await get(), "200 hi");
    assert.deepEqual(names, [false]);
  });

  it("asks for the name that the certificate must be of", async () => {
    await start(own, { serverName: "orders.internal" });
    assert.equal(await get(), "200 hi");
    assert.deepEqual(names, ["orders.internal"]);
  });

  for (const [what, options, config] of [
    ["of another name", own, { serverName: "billing.internal" }],
    ["that has expired", ended, {}],
    ["of an authority that is not trusted", other, {}],
  ] as const) {
    it(`is refused with a certificate ${what}, before anything is sent`, async () => {
      await start(options, config);
      assert.equal(await get(), "untrusted");
      assert.equal(upstream?.connections, 0);
    });
  }

  it("is refused by one that does not speak it", async () => {
    await listen(
      createSocketServer((socket) => void socket.on("error", () => undefined).write("hello\r\n")),
      {},
    );
    assert.equal(await get(), "untrusted");
  });

  it("has its time within that of the connection", async () => {
    const clock = new FakeClock();
    const silent = createSocketServer((socket) => void socket.on("error", () => undefined).resume());
    await listen(silent, {}, clock);
    const reply = get();
    await once(silent, "connection");
    await clock.advance(10_100);
    assert.equal(await reply, "connect_timeout");
  });

  it("shows a certificate of its own to an instance that asks for one, and fails without one", async () => {
    const asking = { ...own, ca: authority.cert, requestCert: true, rejectUnauthorized: true };
    await start(asking, { certFile: file("client.pem", client.cert), keyFile: file("client.key", client.key) });
    assert.equal(await get(), "200 hi");
    upstream?.destroy();
    server?.close();
    await start(asking);
    assert.match(await get(), /^untrusted/);
  });

  it("takes a session up again, but not for longer than the certificate that it began with is good", async () => {
    const clock = new FakeClock(Date.now());
    await start(own, {}, clock);
    assert.equal(await get(), "200 hi");
    assert.equal(await get(), "200 hi");
    await clock.advance(300_001);
    assert.equal(await get(), "200 hi");
    assert.deepEqual(resumed, [false, true, false]);
  });

  it("goes by what its files hold now, and by what they held where they cannot be used", async () => {
    const clock = new FakeClock(Date.now());
    await start(other, { caFile: file("changing.pem", authority.cert) }, clock);
    assert.equal(await get(), "untrusted");
    file("changing.pem", other.cert);
    await until(async () => {
      await clock.advance(1_000); // a change counts when it is found a second time
      return (await get()) === "200 hi";
    });
    file("changing.pem", "nothing");
    for (let look = 0; look < 4; look++) await clock.advance(1_000);
    assert.equal(await get(), "200 hi");
  });

  it("is spoken by a gateway whose document says so, which answers 502 upstream_untrusted for what it cannot verify", async () => {
    await start(own);
    const address = server?.address();
    assert.ok(typeof address === "object" && address !== null);
    const documentOf = (serverName: string): GatewayDocument => ({
      routes: [openRoute()],
      services: { s: { tls: { caFile, serverName } } },
    });
    await using running = await startGateway({ document: documentOf("orders.internal") });
    await running.add(address);
    assert.equal(await (await fetch(running.url)).text(), "hi");
    await running.gateway.reload(documentOf("billing.internal"));
    const reply = await fetch(running.url);
    assert.deepEqual([reply.status, Reflect.get(Object(await reply.json()), "reason")], [502, "upstream_untrusted"]);
    await assert.rejects(
      running.gateway.reload({ ...documentOf("a"), services: { s: { tls: { caFile: join(folder, "none.pem") } } } }),
      { code: "ERR_TLS_FILE" },
    );
    await assert.rejects(running.gateway.reload({ routes: [openRoute()], services: { t: { tls: {} } } }), {
      message: /no route leads to this service/,
    });
  });
});
