import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock, until } from "@plinth/kernel/testing";
import type { GatewaySettingsInput } from "../options.ts";
import { echo, exchangeRaw, httpInstance, openRoute, rawClient, type Received, startGateway } from "../testing/kit.ts";

const line = (address: string): string => `PROXY TCP4 ${address} 10.0.0.1 4321 80\r\n`;
const asking = "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

async function started(settings: GatewaySettingsInput = {}, more: Parameters<typeof startGateway>[0] = {}) {
  const instance = await httpInstance(echo);
  const running = await startGateway({
    settings: { proxyProtocol: { from: ["loopback"] }, ...settings },
    ...more,
  });
  await running.add(instance);
  return {
    ...running,
    [Symbol.asyncDispose]: async () => {
      await running[Symbol.asyncDispose]();
      await instance.close();
    },
  };
}

const outcome = (text: string, name: string): string | undefined =>
  new RegExp(`gateway_proxy_headers_total\\{outcome="${name}"\\} (\\d+)`).exec(text)?.[1];

function received(reply: string): Received["headers"] {
  const { headers }: Received = JSON.parse(reply.slice(reply.indexOf("\r\n\r\n")));
  return headers;
}

describe("a load balancer's PROXY header", () => {
  it("says who the client is: to services, access log, limits and lists", async () => {
    const routes = [
      openRoute({ addresses: { deny: ["192.0.2.66"] }, rateLimit: { limit: 1, windowMs: 60_000, by: "address" } }),
    ];
    await using running = await started({}, { routes });
    const ask = (address: string): Promise<string> => exchangeRaw(running.gateway.port, line(address) + asking);
    const reply = await ask("192.0.2.7");
    assert.match(reply, /^HTTP\/1\.1 200 /);
    assert.deepEqual(received(reply)["x-forwarded-for"], ["192.0.2.7"]);
    assert.equal((await running.lastLine()).client, "192.0.2.7");
    assert.match(await ask("192.0.2.7"), /^HTTP\/1\.1 429 /);
    assert.match(await ask("192.0.2.8"), /^HTTP\/1\.1 200 /);
    assert.match(await ask("192.0.2.66"), /^HTTP\/1\.1 403 [^]*address_refused/);
    assert.equal(outcome(await running.metrics(), "taken"), "4");
  });

  it("may come byte by byte, with the request on its heels, and counts for all requests of its connection", async () => {
    await using running = await started();
    const client = await rawClient(running.gateway.port);
    client.socket.setNoDelay(true);
    const keptAlive = asking.replace("connection: close\r\n", "");
    for (const byte of line("192.0.2.7") + keptAlive.slice(0, 9)) {
      client.send(byte);
      await new Promise(setImmediate);
    }
    client.send(keptAlive.slice(9));
    await client.matching(/192\.0\.2\.7/);
    client.send(asking);
    const text = await client.toEnd();
    assert.equal(text.match(/HTTP\/1\.1 200 /g)?.length, 2);
    assert.deepEqual(
      (await running.lines(2)).map(({ client: address }) => address),
      ["192.0.2.7", "192.0.2.7"],
    );
  });

  it("names the proxy whose forwarding headers are believed", async () => {
    await using running = await started({ trustedProxies: ["192.0.2.0/24"] });
    const via = (address: string): Promise<string> =>
      exchangeRaw(
        running.gateway.port,
        line(address) + asking.replace("host: a", "host: a\r\nx-forwarded-for: 203.0.113.9"),
      );
    assert.deepEqual(received(await via("192.0.2.7"))["x-forwarded-for"], ["203.0.113.9, 192.0.2.7"]);
    assert.deepEqual(received(await via("198.51.100.1"))["x-forwarded-for"], ["198.51.100.1"]);
  });

  it("leaves the balancer as the client where it speaks for itself", async () => {
    await using running = await started();
    const local = Buffer.from("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "latin1");
    const reply = await exchangeRaw(running.gateway.port, Buffer.concat([local, Buffer.from(asking)]));
    assert.deepEqual(received(reply)["x-forwarded-for"], ["127.0.0.1"]);
    assert.equal(outcome(await running.metrics(), "local"), "1");
  });

  for (const [what, bytes] of [
    ["a request without it", asking],
    ["a broken one", "PROXY TCP4 a b 1 2\r\n"],
    ["a second one", line("192.0.2.7") + line("192.0.2.8") + asking],
  ] as const) {
    it(`is needed of a balancer, once and whole: ${what} is refused`, async () => {
      await using running = await started();
      const reply = await exchangeRaw(running.gateway.port, bytes);
      if (what === "a second one") assert.match(reply, /^HTTP\/1\.1 400 /);
      else assert.equal(reply, "");
      assert.equal(outcome(await running.metrics(), what === "a second one" ? "taken" : "invalid"), "1");
    });
  }

  it("is no HTTP of anybody else, whose requests are served without", async () => {
    await using running = await started({ proxyProtocol: { from: ["192.0.2.1"] } });
    assert.match(await exchangeRaw(running.gateway.port, line("192.0.2.7") + asking), /^HTTP\/1\.1 400 /);
    const reply = await exchangeRaw(running.gateway.port, asking);
    assert.deepEqual(received(reply)["x-forwarded-for"], ["127.0.0.1"]);
  });

  it("has its time, and what leaves before it is closed without a fault", async () => {
    const clock = new FakeClock();
    await using running = await started({}, { clock });
    const slow = await rawClient(running.gateway.port);
    slow.send("PROXY TCP4 192.0.2.7");
    const short = await rawClient(running.gateway.port);
    short.socket.end();
    await until(async () => outcome(await running.metrics(), "none") === "1");
    await clock.advance(3_000);
    assert.equal(await slow.toEnd(), "");
    assert.equal(outcome(await running.metrics(), "timeout"), "1");
    const reset = await rawClient(running.gateway.port);
    reset.send("PROXY ");
    await until(() => reset.socket.bytesWritten > 0);
    reset.socket.resetAndDestroy();
    await until(
      async () =>
        Number(outcome(await running.metrics(), "none") ?? 0) +
          Number(outcome(await running.metrics(), "invalid") ?? 0) ===
        2,
    );
    assert.equal(running.reports.length, 0);
  });

  it("does not hold up a drain", async () => {
    await using running = await started();
    const client = await rawClient(running.gateway.port);
    client.send("PROXY ");
    await running.gateway.drain();
    assert.equal(await client.toEnd(), "");
  });

  for (const proxyProtocol of [{ from: [] }, { from: ["nowhere"] }, { from: ["loopback"], headerTimeoutMs: 0 }]) {
    it(`cannot be set as ${JSON.stringify(proxyProtocol)}`, async () => {
      await assert.rejects(startGateway({ settings: { proxyProtocol } }), {
        code: "ERR_GATEWAY_CONFIG",
        message: /proxyProtocol\./,
      });
    });
  }
});
