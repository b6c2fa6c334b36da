import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toGatewaySettings, type GatewaySettingsInput } from "../options.ts";
import { echo, exchangeRaw, httpInstance, openRoute, type Received, startGateway } from "../testing/kit.ts";

/** What the service gets, and what the access log says, of one request with these header lines. */
async function told(
  settings: GatewaySettingsInput,
  lines: readonly string[],
): Promise<{ readonly headers: Received["headers"]; readonly client: unknown; readonly reply: string }> {
  await using instance = await httpInstance(echo);
  await using running = await startGateway({ settings, routes: [openRoute()] });
  await running.add(instance);
  const request = ["GET /a HTTP/1.1", "Host: own.example", ...lines, "Connection: close", "", ""].join("\r\n");
  const reply = await exchangeRaw(running.gateway.port, request);
  const { headers } = JSON.parse(reply.slice(reply.indexOf("\r\n\r\n") + 4)) as Received;
  return { headers, client: (await running.lastLine()).client, reply };
}

const forged = [
  "X-Forwarded-For: 1.1.1.1, 203.0.113.7",
  "X-Forwarded-For: 10.0.0.9",
  "X-Forwarded-Proto: http, https",
  "X-Forwarded-Host: evil.example, shop.example",
  "X-Forwarded-Port: 1",
  "X-Real-IP: 2.2.2.2",
  "Forwarded: for=3.3.3.3;proto=http;host=f.example",
  "X-Request-Id: from-the-proxy.1",
];

describe("the headers that say where a request comes from", () => {
  it("are deleted and written fresh for a peer that is not trusted", async () => {
    for (const settings of [{}, { trustedProxies: ["10.0.0.0/8"] }, { trustedProxies: ["10.0.0.0/8"], proxyHops: 1 }]) {
      const { headers, client } = await told(settings, forged);
      assert.deepEqual(headers["x-forwarded-for"], ["127.0.0.1"]);
      assert.deepEqual(headers["x-forwarded-proto"], ["http"]);
      assert.deepEqual(headers["x-forwarded-host"], ["own.example"]);
      assert.match(String(headers["x-request-id"]), /^[0-9a-f]{32}$/);
      for (const name of ["x-forwarded-port", "x-real-ip", "forwarded"]) assert.equal(headers[name], undefined, name);
      assert.equal(client, "127.0.0.1");
    }
  });

  it("are handed on for a trusted one, with itself at the end of the list, and only those that it writes", async () => {
    const { headers, client, reply } = await told({ trustedProxies: ["127.0.0.1", "10.0.0.0/8"] }, forged);
    assert.deepEqual(headers["x-forwarded-for"], ["1.1.1.1, 203.0.113.7, 10.0.0.9, 127.0.0.1"]);
    assert.deepEqual(headers["x-forwarded-proto"], ["https"]);
    assert.deepEqual(headers["x-forwarded-host"], ["shop.example"]);
    assert.deepEqual(headers["x-request-id"], ["from-the-proxy.1"]);
    assert.match(reply, /\r\nx-request-id: from-the-proxy\.1\r\n/);
    assert.deepEqual(headers.host, ["own.example"]);
    for (const name of ["x-forwarded-port", "x-real-ip", "forwarded"]) assert.equal(headers[name], undefined, name);
    assert.equal(client, "203.0.113.7", "the first from the right that is not trusted");
  });

  it("tell the client by the number of proxies where that is given, never by the leftmost entry", async () => {
    const trusted = { trustedProxies: ["loopback"] };
    assert.equal((await told({ ...trusted, proxyHops: 1 }, forged)).client, "10.0.0.9");
    assert.equal((await told({ ...trusted, proxyHops: 2 }, forged)).client, "203.0.113.7");
    assert.equal((await told({ ...trusted, proxyHops: 9 }, forged)).client, "127.0.0.1");
  });

  it("come from Forwarded where the proxies write that", async () => {
    const { headers, client } = await told({ trustedProxies: ["loopback"], forwardedBy: "forwarded" }, forged);
    assert.equal(client, "3.3.3.3");
    assert.deepEqual(headers["x-forwarded-for"], ["3.3.3.3, 127.0.0.1"]);
    assert.deepEqual(headers["x-forwarded-host"], ["f.example"]);
    assert.equal(headers.forwarded, undefined);
  });

  it("are as good as absent where a trusted proxy hands on what is none", async () => {
    const trusted = { trustedProxies: ["loopback"] };
    const { headers, client } = await told(trusted, [
      `X-Forwarded-For: \u00ff, 203.0.113.7`,
      "X-Forwarded-Proto: gopher",
      "X-Forwarded-Host: a b",
      "X-Request-Id: a b",
    ]);
    assert.equal(client, "203.0.113.7");
    assert.deepEqual(headers["x-forwarded-for"], ["203.0.113.7, 127.0.0.1"]);
    assert.deepEqual(headers["x-forwarded-proto"], ["http"]);
    assert.deepEqual(headers["x-forwarded-host"], ["own.example"]);
    assert.match(String(headers["x-request-id"]), /^[0-9a-f]{32}$/);
    const long = await told(trusted, [`X-Forwarded-For: ${"1.1.1.1, ".repeat(300)}203.0.113.7`]);
    assert.deepEqual(long.headers["x-forwarded-for"], ["203.0.113.7, 127.0.0.1"]);
    assert.deepEqual((await told(trusted, [])).headers["x-forwarded-for"], ["127.0.0.1"]);
  });

  it("need networks that are some", () => {
    assert.throws(() => toGatewaySettings({ trustedProxies: ["10.0.0.0/33"] }), /trustedProxies.*CIDR/);
    assert.throws(() => toGatewaySettings({ proxyHops: 0 }), /proxyHops/);
  });
});
