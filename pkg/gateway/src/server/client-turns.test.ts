import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { describe, it } from "node:test";
import { setImmediate } from "node:timers/promises";
import { until } from "@plinth/kernel/testing";
import { httpInstance, openRoute, rawClient, startGateway } from "../testing/kit.ts";

const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

describe("requests sent ahead of the replies to those before them", () => {
  it("are begun one by one, answered in their order, and no more of them is taken in than a read holds", async () => {
    const count = 2_000;
    let parsed = 0;
    const counting = (): void => void parsed++; // by the gateway, and one by the instance
    subscribe("http.server.request.start", counting);
    let now = 0;
    let most = 0;
    const order: string[] = [];
    const waiting: (() => void)[] = [];
    await using instance = await httpInstance((request, response) => {
      most = Math.max(most, ++now);
      order.push(request.url ?? "");
      const reply = (): void => {
        now--;
        response.end(request.url);
      };
      if (order.length === 1) waiting.push(reply);
      else reply();
    });
    await using running = await startGateway();
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    const paths = Array.from({ length: count }, (_, at) => `/${at}/${"x".repeat(200)}`);
    client.send(paths.map(get).join(""));
    await until(() => waiting.length === 1);
    await until(() => parsed > 16);
    for (let turn = 0; turn < 50; turn++) await setImmediate();
    unsubscribe("http.server.request.start", counting);
    assert.ok(parsed <= 2 + 16 + 65_536 / get(paths[0] ?? "").length, `${parsed} were taken in`);
    assert.deepEqual(order, [paths[0]]);
    waiting[0]?.();
    await until(() => order.length === count, { what: "all requests at the service", limitMs: 30_000 });
    await until(() => client.text.endsWith(paths.at(-1) ?? ""), { what: "all replies", limitMs: 30_000 });
    const answered = [...client.text.matchAll(/\r\n\r\n(\/\d+\/x+)/g)].map(([, path]) => path);
    assert.deepEqual(answered, paths);
    assert.deepEqual(order, paths);
    assert.equal(most, 1);
    client.socket.destroy();
    assert.deepEqual(running.reports, []);
  });

  it("are not begun behind a reply that is the connection's last", async () => {
    const order: string[] = [];
    await using instance = await httpInstance((request, response) => {
      order.push(request.url ?? "");
      response.end();
    });
    await using running = await startGateway({ routes: [openRoute({ maxBodyBytes: 10 })] });
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send(`${get("/1")}POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world${get("/3")}`);
    assert.match(await client.toEnd(), /^HTTP\/1\.1 200 [^]*HTTP\/1\.1 413 [^]*connection: close[^]*too large/i);
    assert.deepEqual(order, ["/1"]);
    assert.equal(client.text.split("HTTP/1.1 ").length, 3);
  });

  it("are not begun when their client has left, and what is under way is broken off", async () => {
    const order: string[] = [];
    await using instance = await httpInstance((request) => void order.push(request.url ?? ""));
    await using running = await startGateway();
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    client.send(`${get("/1")}${get("/2")}`);
    await until(() => order.length === 1);
    client.socket.destroy();
    await until(() => instance.sockets.size === 0);
    assert.equal((await running.lastLine()).reason, "client_gone");
    assert.deepEqual(order, ["/1"]);
    assert.deepEqual(running.reports, []);
  });

  it("may have bodies, which are read when it is their turn", async () => {
    const bodies: number[] = [];
    await using instance = await httpInstance((request, response) => {
      let bytes = 0;
      request.on("data", (chunk: Buffer) => (bytes += chunk.length));
      request.on("end", () => {
        bodies.push(bytes);
        response.end();
      });
    });
    await using running = await startGateway();
    await running.add(instance);
    const client = await rawClient(running.gateway.port);
    for (let at = 1; at <= 40; at++) {
      const bytes = at * 5_000;
      client.send(`POST /${at} HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes}\r\n\r\n${"x".repeat(bytes)}`);
    }
    await until(() => bodies.length === 40, { what: "40 bodies" });
    assert.deepEqual(
      bodies,
      Array.from({ length: 40 }, (_, at) => (at + 1) * 5_000),
    );
    client.socket.destroy();
  });
});
