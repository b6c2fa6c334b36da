import assert from "node:assert/strict";
import { connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import type { GatewaySettingsInput } from "../options.ts";
import {
  echo,
  exchangeRaw,
  httpInstance,
  openRoute,
  rawClient,
  socketInstance,
  startGateway,
  type TestGateway,
} from "../testing/kit.ts";

const ask = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/** Connects from one of this machine's addresses; whether it is served tells whether it was taken. */
async function open(port: number, { from = "127.0.0.1", first = "" } = {}) {
  const socket = connect({ port, host: "127.0.0.1", localAddress: from });
  const isServed = await new Promise<boolean>((resolve) => {
    socket.on("error", () => undefined); // one that is refused may be reset
    socket.once("data", () => resolve(true));
    socket.once("close", () => resolve(false));
    socket.write(first + ask);
  });
  return { socket, isServed };
}

async function openMany(port: number, count: number, options?: Parameters<typeof open>[1]) {
  const all: Awaited<ReturnType<typeof open>>[] = [];
  for (let at = 0; at < count; at++) all.push(await open(port, options));
  return { sockets: all.map(({ socket }) => socket), served: all.map(({ isServed }) => isServed) };
}

async function started(settings: GatewaySettingsInput) {
  const instance = await httpInstance(echo);
  const running = await startGateway({ settings });
  await running.add(instance);
  return {
    ...running,
    [Symbol.asyncDispose]: async () => {
      await running[Symbol.asyncDispose]();
      await instance.close();
    },
  };
}

const refusals = async (running: TestGateway, reason: string): Promise<string | undefined> =>
  new RegExp(`gateway_connections_refused_total\\{reason="${reason}"\\} (\\d+)`).exec(await running.metrics())?.[1];

const isOpen = async (running: TestGateway, count: number): Promise<void> =>
  until(async () => new RegExp(`gateway_connections ${count}\n`).test(await running.metrics()) || undefined, {
    what: `${count} open connections`,
  }).then(() => undefined);

const end = (sockets: readonly Socket[]): void => {
  for (const socket of sockets) socket.destroy();
};

describe("the number of connections at the gateway's port", () => {
  for (const cleartext of [false, true]) {
    it(`is held to its cap, also across a reload${cleartext ? ", beside HTTP/2" : ""}`, async () => {
      await using running = await started({ maxConnections: 3, http2: { cleartext } });
      const { port } = running.gateway;
      const first = await openMany(port, 5);
      assert.deepEqual(first.served, [true, true, true, false, false]);
      await running.gateway.reload({ routes: [openRoute({ name: "other" })] });
      assert.equal((await open(port)).isServed, false, "a reload makes no room");
      assert.equal(await refusals(running, "total"), "3");
      assert.equal(running.log.withMessage("connections of clients are refused").length, 1, "told once");
      first.sockets[0]?.destroy();
      await isOpen(running, 2);
      const next = await open(port);
      assert.equal(next.isServed, true, "one that has ended makes room");
      end([...first.sockets, next.socket]);
      await isOpen(running, 0);
      assert.deepEqual(running.reports, []);
    });
  }

  it("of one client leaves room for others", async () => {
    await using running = await started({ maxConnectionsPerAddress: 2, uncappedAddresses: [] });
    const { port } = running.gateway;
    const first = await openMany(port, 4);
    assert.deepEqual(first.served, [true, true, false, false]);
    const other = await openMany(port, 2, { from: "127.0.0.2" });
    assert.deepEqual(other.served, [true, true]);
    assert.equal(await refusals(running, "address"), "2");
    assert.equal(await refusals(running, "total"), undefined);
    end(first.sockets);
    await isOpen(running, 2);
    assert.equal((await open(port)).isServed, true, "those that have ended make room");
    end(other.sockets);
  });

  it("of one client counts a connection of HTTP/2 as one, whatever comes on it", async () => {
    const http2 = { cleartext: true };
    await using running = await started({ maxConnectionsPerAddress: 1, uncappedAddresses: [], http2 });
    const session = connectHttp2(running.url);
    const statuses = Array.from({ length: 5 }, async () => {
      const stream = session.request({ ":path": "/" }).resume();
      return new Promise((resolve) => stream.once("response", (headers) => resolve(headers[":status"])));
    });
    assert.deepEqual(await Promise.all(statuses), [200, 200, 200, 200, 200]);
    assert.equal((await open(running.gateway.port)).isServed, false);
    session.destroy();
    await isOpen(running, 0);
    assert.equal(
      (await exchangeRaw(running.gateway.port, ask.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"))).slice(9, 12),
      "200",
    );
  });

  it("of one client counts WebSockets as long as they are open", async () => {
    await using instance = await socketInstance((socket) =>
      socket.once("data", () =>
        socket.write(
          "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        ),
      ),
    );
    await using running = await startGateway({
      settings: { maxConnectionsPerAddress: 1, uncappedAddresses: [] },
      routes: [openRoute({ websocket: {} })],
    });
    await running.add(instance);
    const { port } = running.gateway;
    const client = await rawClient(port);
    client.send(
      "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    await client.matching(/^HTTP\/1\.1 101 /);
    assert.equal((await open(port)).isServed, false);
    client.socket.destroy();
    await isOpen(running, 0);
    assert.equal((await open(port)).isServed, true);
  });

  it("of one client leaves trusted proxies alone, behind which there are many", async () => {
    const trustedProxies = ["127.0.0.1"];
    await using running = await started({ maxConnectionsPerAddress: 1, uncappedAddresses: [], trustedProxies });
    const first = await openMany(running.gateway.port, 3);
    assert.deepEqual(first.served, [true, true, true]);
    end(first.sockets);
  });

  it("of one client goes by the address that a load balancer names", async () => {
    const proxyProtocol = { from: ["127.0.0.1"] };
    await using running = await started({ maxConnectionsPerAddress: 1, uncappedAddresses: [], proxyProtocol });
    const { port } = running.gateway;
    const of = (address: string) => open(port, { first: `PROXY TCP6 ${address} ::1 4321 80\r\n` });
    const first = await of("2001:db8:1:2::1");
    const others = [
      await of("2001:db8:1:2:3::1"),
      await of("2001:db8:1:3::1"),
      await open(port, { from: "127.0.0.2" }),
    ];
    assert.equal(first.isServed, true);
    assert.deepEqual(
      others.map(({ isServed }) => isServed),
      [false, true, true],
      "of IPv6 by the /64",
    );
    assert.equal(await refusals(running, "address"), "1");
    end([first, ...others].map(({ socket }) => socket));
  });
});
