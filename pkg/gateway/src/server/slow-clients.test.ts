import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock, until } from "@plinth/kernel/testing";
import type { GatewaySettingsInput } from "../options.ts";
import { httpInstance, openRoute, rawClient, startGateway, type TestGateway } from "../testing/kit.ts";

const post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n";

async function started(settings: GatewaySettingsInput = {}, bytes = 32 * 1024 * 1024) {
  const clock = new FakeClock();
  let received = 0;
  let paused = false;
  const instance = await httpInstance((request, response) => {
    if (request.method === "GET") {
      response.on("error", () => undefined).end(Buffer.alloc(bytes));
      return;
    }
    if (request.url === "/paused") {
      paused = true;
      return; // takes nothing of the body
    }
    request.on("data", (chunk: Buffer) => (received += chunk.length)).on("error", () => undefined);
  });
  const running = await startGateway({
    clock,
    settings,
    routes: [openRoute({ maxBodyBytes: 100_000_000, timeoutMs: 3_600_000 })],
  });
  await running.add(instance);
  return {
    ...running,
    clock,
    got: (count: number) => until(() => received >= count || undefined, { what: `${count} bytes at the service` }),
    isPaused: () => until(() => paused || undefined),
    [Symbol.asyncDispose]: async () => {
      await instance.close();
      await running[Symbol.asyncDispose]();
    },
  };
}

const ended = async (running: TestGateway, at: string): Promise<string | undefined> =>
  new RegExp(`gateway_slow_clients_total\\{at="${at}"\\} (\\d+)`).exec(await running.metrics())?.[1];

describe("a body that comes bit by bit", () => {
  it("is refused once it has had its grace, with the reason", async () => {
    await using running = await started();
    const client = await rawClient(running.gateway.port);
    client.send(`${post}ab`);
    await running.got(2);
    for (let second = 0; second < 4; second++) {
      await running.clock.advance(1_000);
      client.send("c");
      await running.got(3 + second);
    }
    assert.equal(client.text, "", "not before");
    await running.clock.advance(2_000);
    await client.matching(/^HTTP\/1\.1 408 [^]*connection: close[^]*"reason":"body_too_slow"/);
    assert.equal(await ended(running, "body"), "1");
    await running.clock.advance(3_000);
    await client.toEnd();
    assert.equal((await running.lastLine())["reason"], "body_too_slow");
    assert.deepEqual(running.reports, []);
  });

  it("is taken as long as it keeps to the rate, and where there is none", async () => {
    for (const minBodyRateBytesPerS of [1, 0]) {
      await using running = await started({ minBodyRateBytesPerS });
      const client = await rawClient(running.gateway.port);
      client.send(`${post}a`);
      await running.got(1);
      for (let second = 0; second < 8; second++) {
        await running.clock.advance(1_000);
        if (minBodyRateBytesPerS === 0) continue;
        client.send("bc");
        await running.got(3 + 2 * second);
      }
      assert.equal(client.text, "");
      client.socket.destroy();
    }
  });

  it("is not held against a client whose service does not take it", async () => {
    await using running = await started({ upstream: { headersTimeoutMs: 3_600_000 } });
    const client = await rawClient(running.gateway.port);
    client.send(post.replace("/ ", "/paused ").replace("100000", "100000000"));
    await running.isPaused();
    const chunk = Buffer.alloc(1_000_000);
    for (let at = 0; at < 60; at++) client.send(chunk);
    let left = 0;
    let same = 0;
    await until(() => {
      same = left === client.socket.writableLength ? same + 1 : 0;
      left = client.socket.writableLength;
      return (left > 0 && same > 10) || undefined;
    });
    for (let second = 0; second < 40; second++) await running.clock.advance(1_000);
    assert.equal(client.text, "");
    client.socket.destroy();
  });
});

describe("a reply that is taken bit by bit", () => {
  it("is broken off, with the reason", async () => {
    await using running = await started({ minReplyRateBytesPerS: 1_000_000, idleTimeoutMs: 3_600_000 });
    const client = await rawClient(running.gateway.port);
    client.socket.pause();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    await until(async () => {
      await running.clock.advance(1_000);
      return (await ended(running, "reply")) === "1" || undefined;
    });
    assert.equal((await running.lastLine())["reason"], "reply_untaken");
    client.socket.resume();
    await client.toEnd();
    assert.ok(client.text.length < 32 * 1024 * 1024);
    assert.deepEqual(running.reports, []);
  });

  it("is left alone where any rate will do", async () => {
    await using running = await started({ minReplyRateBytesPerS: 0 });
    const client = await rawClient(running.gateway.port);
    client.socket.pause();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    await running.lines(0);
    for (let second = 0; second < 20; second++) await running.clock.advance(1_000);
    client.socket.resume();
    await client.matching(/^HTTP\/1\.1 200 /);
    client.socket.destroy();
  });
});
