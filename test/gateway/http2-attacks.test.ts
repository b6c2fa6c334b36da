import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import { withFields } from "../../pkg/transport/src/testing/http2-attacks.ts";
import { type Fields, frameTypes, http2Errors, RawHttp2 } from "../../pkg/transport/src/testing/http2-frames.ts";
import {
  echo,
  exchangeRaw,
  httpInstance,
  openRoute,
  type Scripted,
  startGateway,
  type TestGateway,
} from "../../pkg/gateway/src/testing/kit.ts";

/** All that a service may be told by any request here. */
const forwarded = new Set([
  "host",
  "x-forwarded-for",
  "x-forwarded-proto",
  "x-forwarded-host",
  "via",
  "x-request-id",
  "traceparent",
  "plinth-timeout-ms",
  "plinth-instance",
  "content-length",
  "content-type",
  "transfer-encoding",
  "connection",
]);

describe("what attacks a gateway by HTTP/2", () => {
  let running: TestGateway;
  let instance: Scripted;
  const odd = new Set<string>();
  let hanging = 0;
  /** Bodies that came to their end. */
  let whole = 0;
  before(async () => {
    instance = await httpInstance((request, response) => {
      request.on("error", () => undefined);
      for (let at = 0; at < request.rawHeaders.length; at += 2) {
        const [name = "", value = ""] = request.rawHeaders.slice(at, at + 2);
        if (!forwarded.has(name.toLowerCase()) || /[^ -~]|^ | $/.test(value)) odd.add(`${name}: ${value}`);
      }
      if (request.url !== "/hang") echo(request, response);
      else {
        hanging++;
        request.resume().once("end", () => request.method === "POST" && whole++);
        request.once("close", () => hanging--);
      }
    });
    running = await startGateway({
      settings: { http2: { cleartext: true }, accessLog: false },
      routes: [openRoute({ match: { path: ["/", "/hang"] } })],
    });
    await running.add(instance);
  });
  after(async () => {
    await running[Symbol.asyncDispose]();
    await instance.close();
  });

  async function metric(name: string): Promise<number> {
    const line = (await running.metrics()).split("\n").find((one) => one.startsWith(name));
    return Number(line?.slice(name.length) ?? 0);
  }

  /** After whatever was done to it: it serves others, and keeps nothing. */
  async function assertUnhurt(): Promise<void> {
    const other = new RawHttp2(running.gateway.port);
    other.head(1);
    assert.equal(await other.answer(1), "200", "another client is served");
    other.destroy();
    await until(
      async () =>
        (await metric("gateway_http2_connections ")) + (await metric("gateway_requests_in_flight ")) + hanging === 0,
      { what: "no connection of HTTP/2 and no request to be left" },
    );
    assert.deepEqual(running.reports, [], "what clients do wrong is no fault of the gateway");
    assert.deepEqual([...odd], [], "no service has seen anything of it");
  }

  for (const code of [http2Errors.none, http2Errors.internal, http2Errors.cancel]) {
    it(`does not pass half a body on as if it were whole, reset with ${code}`, async () => {
      const caller = new RawHttp2(running.gateway.port);
      caller.head(1, withFields([":method", "POST"], [":path", "/hang"]), { end: false });
      caller.data(1, "half", false);
      await until(() => hanging === 1, { what: "the service to be asked" });
      caller.reset(1, code);
      await until(() => hanging === 0, { what: "the service to be left" });
      assert.equal(whole, 0);
      caller.destroy();
      await assertUnhurt();
    });
  }

  it("counts connections that do not keep to the protocol", async () => {
    const name = 'gateway_malformed_requests_total{reason="malformed_request"} ';
    const counted = await metric(name);
    const caller = new RawHttp2(running.gateway.port);
    caller.head(2);
    assert.equal(await caller.answer(2), "goaway 1");
    await caller.closed;
    await until(async () => (await metric(name)) === counted + 1);
  });

  it("has a budget of resets for a connection, ends it past that, and cancels all its work", async () => {
    const floods = await metric('gateway_http2_floods_total{kind="reset"} ');
    const caller = new RawHttp2(running.gateway.port);
    for (let stream = 1; stream < 400 && !caller.socket.destroyed; stream += 2) {
      caller.head(stream, withFields([":path", "/hang"]));
      if (stream > 1) caller.reset(stream, http2Errors.cancel); // the first stays under way
      await new Promise(setImmediate);
    }
    await caller.closed;
    const goaway = caller.frames.find(({ type }) => type === frameTypes.goaway);
    assert.equal(goaway?.payload.readUInt32BE(4), http2Errors.calm);
    assert.equal(await metric('gateway_http2_floods_total{kind="reset"} '), floods + 1);
    await assertUnhurt();
  });

  it("refuses more streams at one time than it has announced", async () => {
    const caller = new RawHttp2(running.gateway.port);
    const settings = await caller.until(({ type, flags }) => type === frameTypes.settings && flags === 0);
    assert.ok(settings?.payload.toString("hex").includes("000300000064"), "100 streams");
    caller.send("settings", 1, 0); // from now on it counts
    for (let stream = 1; stream <= 201; stream += 2) caller.head(stream, withFields([":path", "/hang"]));
    assert.match(await caller.answer(201), /^(reset 7|goaway 1)$/);
    caller.destroy();
    await assertUnhurt();
  });

  it("takes no trailer of a request for a header, and the body as it is", async () => {
    const caller = new RawHttp2(running.gateway.port);
    caller.head(1, withFields([":method", "POST"], ["content-type", "text/plain"]), { end: false });
    caller.data(1, "body", false);
    caller.head(1, [["plinth-subject", "admin"]]);
    assert.equal(await caller.answer(1), "200");
    const reply = await caller.until(
      ({ type, stream, payload }) => type === frameTypes.data && stream === 1 && payload.length > 0,
    );
    const { headers, body } = JSON.parse(String(reply?.payload));
    assert.deepEqual([body, headers["plinth-subject"]], ["body", undefined]);
    caller.destroy();
    await assertUnhurt();
  });
});

describe("a gateway asked the same by HTTP/1.1 and by HTTP/2", () => {
  const targets = [
    "/",
    "/a%2fb",
    "/../b",
    "/a/..;/b",
    "/a%00",
    "/a\\b",
    "/a#b",
    "/%zz",
    "/%ff",
    "//a",
    "/a;b",
    "/open?x=%zz",
    "*",
    `/${"a".repeat(9_000)}`,
  ];
  const methods = ["GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE", "BREW", "get"];
  const headers: readonly Fields[] = [
    [
      ["x-forwarded-for", "1.2.3.4"],
      ["plinth-subject", "admin"],
      ["x_y", "z"],
    ],
    [
      ["authorization", "Bearer a"],
      ["authorization", "Bearer b"],
    ],
    [["te", "trailers"]],
    [["expect", "odd"]],
    [["content-length", "0"]],
    [["host", "other"]],
    [["x-long", "y".repeat(17_000)]],
    Array.from({ length: 120 }, (_, at) => [`x-${at}`, "y"] as const),
  ];
  const heads: readonly (readonly [what: string, Fields])[] = [
    ...targets.map((path) => [`GET ${path.slice(0, 20)}`, withFields([":path", path])] as const),
    ...methods.map((method) => [`${method} /`, withFields([":method", method])] as const),
    ...headers.map((fields) => [`${fields[0]?.join(": ").slice(0, 40)} …`, withFields(...fields)] as const),
    ["a host with a user", withFields([":authority", "a@b"])],
    ["a host with a final dot", withFields([":authority", "localhost."])],
    ["a list of hosts", withFields([":authority", "a,b"])],
  ];

  function plain(fields: Fields): string {
    const of = (wanted: string): string => fields.find(([name]) => name === wanted)?.[1] ?? "";
    const lines = fields.filter(([name]) => !name.startsWith(":")).map(([name, value]) => `${name}: ${value}\r\n`);
    return `${of(":method")} ${of(":path")} HTTP/1.1\r\nHost: ${of(":authority")}\r\n${lines.join("")}\r\n`;
  }

  it("gives the same status, and sends on the same", async () => {
    let seen = "";
    await using instance = await httpInstance((request, response) => {
      const own = request.rawHeaders.filter((_, at, all) => {
        const name = all[at - (at % 2)]?.toLowerCase() ?? "";
        return !["x-request-id", "traceparent", "plinth-timeout-ms", "connection"].includes(name);
      });
      seen = `${request.method} ${request.url} ${own.join("|").toLowerCase()}`;
      response.setHeader("connection", "close");
      response.end();
    });
    await using running = await startGateway({ settings: { http2: { cleartext: true } } });
    await running.add(instance);
    for (const [what, fields] of heads) {
      seen = "";
      const first = /^HTTP\/1\.1 (\d+)/.exec(await exchangeRaw(running.gateway.port, withClose(plain(fields))))?.[1];
      const forwardedByHttp1 = seen;
      seen = "";
      const caller = new RawHttp2(running.gateway.port);
      caller.head(1, fields);
      const second = await caller.answer(1);
      caller.destroy();
      if (/^\d/.test(second)) assert.equal(second, first, what);
      else assert.ok(Number(first) >= 400, `${what}: ${second}, and ${first} by HTTP/1.1`);
      assert.equal(seen.replace("|via|2.0 ", "|via|1.1 "), forwardedByHttp1, what);
      if (seen !== "") assert.match(seen, /\|via\|2\.0 plinth-/, what);
    }
    assert.deepEqual(running.reports, []);
  });

  /** So that its end tells that the reply is whole. */
  function withClose(text: string): string {
    return text.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
  }
});
