import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import {
  echo,
  exchangeRaw,
  httpInstance,
  rawClient,
  sayOnce,
  type Scripted,
  socketInstance,
  startGateway,
  type TestGateway,
} from "../testing/kit.ts";

/** Status and reason of a raw reply. */
function told(reply: string): string {
  const status = /^HTTP\/1\.1 (\d{3})/.exec(reply)?.[1] ?? "no status";
  return `${status} ${/"reason":"(\w+)"/.exec(reply)?.[1] ?? "-"}`;
}

/** Which inputs are refused, and how, stands in the tables of `test/conformance`. */
describe("requests that are not as they must be", () => {
  let instance: Scripted;
  let running: TestGateway;
  before(async () => {
    instance = await httpInstance(echo);
    running = await startGateway({ settings: { headersTimeoutMs: 500, requestTimeoutMs: 900 } });
    await running.add(instance);
  });
  after(async () => {
    await running[Symbol.asyncDispose]();
    await instance.close();
  });

  const closing = "Connection: close\r\n";
  const get = (target: string, headers = "Host: a\r\n"): string => `GET ${target} HTTP/1.1\r\n${headers}${closing}\r\n`;
  const post = (headers: string, body = ""): string => `POST / HTTP/1.1\r\nHost: a\r\n${headers}\r\n${body}`;

  it("takes 80 header lines, and no more", async () => {
    const reply = await exchangeRaw(running.gateway.port, get("/", `Host: a\r\n${"X: y\r\n".repeat(78)}`));
    assert.equal(told(reply), "200 -");
    const refused = await exchangeRaw(running.gateway.port, get("/", `Host: a\r\n${"X: y\r\n".repeat(79)}`));
    assert.equal(told(refused), "431 headers_too_large");
  });

  it("gives a head 500 ms here, then 408", async () => {
    const client = await rawClient(running.gateway.port);
    client.send("GET / HTTP/1.1\r\nHo");
    assert.equal(told(await client.toEnd()), "408 request_timeout");
  });

  it("gives a body 900 ms here, then 408", async () => {
    const client = await rawClient(running.gateway.port);
    client.send(post("Content-Length: 10\r\n", "abc"));
    assert.equal(told(await client.toEnd()), "408 request_timeout");
  });

  it("CONNECT: 405 with Allow", async () => {
    const reply = await exchangeRaw(running.gateway.port, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert.equal(told(reply), "405 method_not_allowed");
    assert.match(reply, /allow: GET, HEAD/);
  });

  it("CONNECT behind a reply that is under way: its connection is broken off, and nothing put into it", async () => {
    await using instance = await socketInstance(sayOnce("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\npart"));
    await using stuck = await startGateway();
    await stuck.add(instance);
    const client = await rawClient(stuck.gateway.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.matching(/part$/);
    client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert.match(await client.toEnd(), /^HTTP\/1\.1 200 [^]*\r\n\r\npart$/);
    assert.equal((await stuck.lastLine())["reason"], "client_gone");
  });

  it("CONNECT, by clients that are gone before their answer: nobody's error", async () => {
    const uncaught: unknown[] = [];
    const onUncaught = (error: unknown): void => void uncaught.push(error);
    process.on("uncaughtException", onUncaught);
    try {
      for (let round = 0; round < 20; round++) {
        const client = await rawClient(running.gateway.port);
        client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
        client.socket.resetAndDestroy();
      }
      const reply = await exchangeRaw(running.gateway.port, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
      assert.equal(told(reply), "405 method_not_allowed");
    } finally {
      process.off("uncaughtException", onUncaught);
    }
    assert.deepEqual([uncaught, running.reports], [[], []]);
  });

  it("TRACE: 405 with Allow", async () => {
    const reply = await exchangeRaw(running.gateway.port, `TRACE / HTTP/1.1\r\nHost: a\r\n${closing}\r\n`);
    assert.equal(told(reply), "405 method_not_allowed");
    assert.match(reply, /allow: GET, HEAD/);
  });

  it("a request that came through this gateway before: 508", async () => {
    const first = await exchangeRaw(running.gateway.port, get("/"));
    const via = /"via":\["([^"]+)"\]/.exec(first)?.[1] ?? "";
    assert.match(via, /^1\.1 plinth-[0-9a-f]{12}$/);
    assert.equal(
      told(await exchangeRaw(running.gateway.port, get("/", `Host: a\r\nVia: 1.0 x, ${via}\r\n`))),
      "508 loop_detected",
    );
    assert.equal(
      told(await exchangeRaw(running.gateway.port, get("/", "Host: a\r\nVia: 1.1 plinth-000000000000\r\n"))),
      "200 -",
    );
  });

  it("counts what the parser refuses", async () => {
    assert.equal(told(await exchangeRaw(running.gateway.port, "hello there\r\n\r\n")), "400 malformed_request");
    assert.match(await running.metrics(), /gateway_malformed_requests_total\{reason="malformed_request"\} 1\n/);
  });
});
