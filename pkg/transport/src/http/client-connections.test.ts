import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import { makeCertificate } from "../testing/certificates.ts";
import { metric, startHttp, type TestHttp, type TestHttpOptions } from "../testing/http.ts";
import { tlsSettings } from "../tls/settings.ts";
import { clientOf } from "./client-connections.ts";
import type { HttpRoutes } from "./server.ts";

const routes: HttpRoutes = (app) => void app.get("/", async () => "served");
const capped = { maxConnectionsPerClient: 3, uncappedClients: [] };
const dropped = (http: TestHttp): Promise<number> => metric(http, "http_server_client_connections_dropped_total");

/** A connection from one of this machine's addresses, and whether it is served. */
async function ask({ server }: TestHttp, localAddress = "127.0.0.1") {
  const socket = connect({ port: server.port, host: "127.0.0.1", localAddress });
  socket.on("error", () => {}); // it may be reset
  socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  const isServed = await Promise.race([once(socket, "data").then(() => true), once(socket, "close").then(() => false)]);
  return { socket, isServed };
}

async function askOften(http: TestHttp, times: number, localAddress?: string) {
  const asked: { readonly socket: Socket; readonly isServed: boolean }[] = [];
  for (let time = 0; time < times; time++) asked.push(await ask(http, localAddress));
  return { sockets: asked.map(({ socket }) => socket), served: asked.map(({ isServed }) => isServed) };
}

describe("the connections of one client", () => {
  for (const http2 of [false, true]) {
    it(`are closed at once past the limit, and counted, while others are served${http2 ? ", beside HTTP/2 too" : ""}`, async () => {
      await using http = await startHttp({ routes, settings: { ...capped, http2 } });
      const first = await askOften(http, 5);
      assert.deepEqual(first.served, [true, true, true, false, false]);
      assert.equal(await dropped(http), 2);
      const second = await askOften(http, 3, "127.0.0.2");
      assert.deepEqual(second.served, [true, true, true]);
      first.sockets[0]?.destroy();
      await until(() => first.sockets[0]?.closed === true);
      while ((await metric(http, "http_server_connections ")) > 5) await new Promise(setImmediate);
      assert.equal((await ask(http)).isServed, true, "one that has ended makes room");
      assert.equal((await ask(http)).isServed, false);
      assert.deepEqual(await http.reports(), []);
      for (const socket of [...first.sockets, ...second.sockets]) socket.destroy();
    });
  }

  it("are counted as connections over HTTP/2, whatever comes on them", async () => {
    await using http = await startHttp({ routes, settings: { ...capped, maxConnectionsPerClient: 1, http2: true } });
    const session = connectHttp2(http.origin);
    const statuses = Array.from({ length: 10 }, async () => {
      const [headers] = await once(session.request({ ":path": "/" }).resume(), "response");
      return headers[":status"];
    });
    assert.deepEqual(new Set(await Promise.all(statuses)), new Set([200]));
    assert.equal((await ask(http)).isServed, false);
    session.destroy();
  });

  it("are closed before a handshake of TLS, and are no handshakes that failed", async () => {
    const folder = mkdtempSync(join(tmpdir(), "plinth-clients-"));
    const [certFile, keyFile] = [join(folder, "tls.crt"), join(folder, "tls.key")];
    const { cert, key } = makeCertificate();
    writeFileSync(certFile, cert);
    writeFileSync(keyFile, key);
    await using http = await startHttp({
      routes,
      settings: { ...capped, tls: tlsSettings.parse({ certFile, keyFile }) },
    });
    rmSync(folder, { recursive: true });
    const sockets = Array.from({ length: 5 }, () => connect(http.server.port, "127.0.0.1").on("error", () => {}));
    while ((await dropped(http)) < 2) await new Promise(setImmediate);
    await until(() => sockets.filter(({ closed }) => closed).length === 2);
    assert.equal(await metric(http, "http_server_tls_failures_total"), 0);
    for (const socket of sockets) socket.destroy();
  });

  const exempt: readonly (readonly [who: string, settings: TestHttpOptions["settings"]])[] = [
    ["of this machine", { maxConnectionsPerClient: 1 }],
    ["of a trusted proxy", { ...capped, trustedProxies: ["127.0.0.0/8"] }],
    ["of clients that are named", { ...capped, uncappedClients: ["127.0.0.1"] }],
    ["by default", {}],
  ];
  for (const [who, settings = {}] of exempt) {
    it(`may be any number ${who}`, async () => {
      await using http = await startHttp({ routes, settings });
      const { sockets, served } = await askOften(http, 5);
      assert.deepEqual([new Set(served), await dropped(http)], [new Set([true]), 0]);
      for (const socket of sockets) socket.destroy();
    });
  }
});

describe("the client that an address is of", () => {
  for (const [address, client] of [
    ["192.0.2.1", "192.0.2.1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2"],
    ["2001:db8:1:2::6", "2001:db8:1:2"],
    ["2001:db8::6", "2001:db8:0:0"],
    ["fe80::1%eth0", "fe80:0:0:0"],
    ["::1", "0:0:0:0"],
    ["::", "0:0:0:0"],
    ["1::", "1:0:0:0"],
  ] as const) {
    it(`${address} is ${client}`, () => assert.equal(clientOf(address), client));
  }
});
