// A service is told to stop under load, and with everything open that has no end of its own: no request fails, each thing ends
// in the way that its protocol has for that, and what does not end is cut off at the limit.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { makeCertificate } from "../../pkg/transport/src/testing/certificates.ts";
import { EchoClient, failureOf } from "../../pkg/transport/src/testing/grpc-client.ts";
import { ask } from "../support/http.ts";
import { startLoad } from "../support/load.ts";
import { startHttp2Load } from "../support/load-http2.ts";
import { type Service, startService } from "../support/service.ts";
import { until } from "../support/until.ts";

const limitMs = 20_000;
/** Enough for a client on a busy machine to use each kept connection once more, and so to be told that it closes. */
const announceMs = "2000";
const connections = 6;
/**
 * A loop meets three GOAWAYs at most: when the stop is announced, at the drain, and a moment after it on a connection that began
 * meanwhile; then nobody listens. A request that is counted has been refused by two of them, as undici sends it again once; or,
 * by node:http2, came after the last.
 */
const mostRefused = connections;
const unavailable = 14;

/** Far more than a test may take: whatever waits for these limits fails it. */
const patient = { PLINTH_LIFECYCLE_DRAIN_MS: "600000", PLINTH_LIFECYCLE_STOP_MS: "1200000" };

const start = (environment: Readonly<Record<string, string>> = {}): Promise<Service> =>
  startService("draining-service", { environment: { PLINTH_LOG_LEVEL: "info", ...environment } });

const portOf = ({ url }: Service): number => Number(new URL(url).port);
const grpcClient = ({ grpcAddress }: Service): EchoClient => new EchoClient(Number(grpcAddress.split(":")[1]));

/** A connection of bytes as they are. */
function dial(
  service: Service,
  bytes: string,
): { readonly socket: Socket; received(): string; readonly ended: Promise<string> } {
  const socket = connect(portOf(service), "127.0.0.1");
  let text = "";
  socket.setEncoding("latin1").on("data", (part: string) => (text += part));
  socket.on("error", () => {}); // a reset is an end too
  const ended = new Promise<string>((resolve) => socket.once("close", () => resolve(text)));
  socket.write(bytes);
  return { socket, received: () => text, ended };
}

/** Calls one after the other until the server cannot be reached. */
async function callUntilGone(client: EchoClient, onReply: () => void): Promise<string> {
  for (;;) {
    try {
      await client.say({ text: "x" });
      onReply();
    } catch {
      const { code, message } = await failureOf(client.say({ text: "x" }));
      return `${code} ${message}`;
    }
  }
}

describe("SIGTERM under load", { timeout: 120_000 }, () => {
  it("fails no request over HTTP and no unary call of gRPC until nobody listens, and ends with exit code 0", async () => {
    await using service = await start({ PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: announceMs });
    const load = startLoad({ url: `${service.url}/works`, connections });
    const clients = Array.from({ length: connections }, () => grpcClient(service));
    let replies = 0;
    const lastFailures = Promise.all(clients.map((client) => callUntilGone(client, () => replies++)));
    await load.untilMore(200);
    await until(() => replies > 200, "replies of gRPC", limitMs);
    const before = { http: load.report().statuses["200"] ?? 0, grpc: replies };
    service.program.signal("SIGTERM");
    await until(
      async () => (await ask(`${service.url}/ready`).catch(() => undefined))?.status !== 200,
      "not ready",
      limitMs,
    );
    await load.ended;
    for (const failure of await lastFailures) assert.match(failure, /^14 .*(ECONNREFUSED|ECONNRESET)/);
    const { statuses, unaccepted, ...rest } = load.report();
    const outcome = [Object.keys(statuses), rest];
    assert.deepEqual(outcome, [["200"], { broken: [], refused: connections }], JSON.stringify(outcome));
    assert.ok(unaccepted <= connections);
    assert.ok(
      (statuses["200"] ?? 0) > before.http && replies > before.grpc,
      "it was served while it announced its stop",
    );
    assert.deepEqual(await service.program.exit, { code: 0, signal: null }, service.program.stderr());
    for (const client of clients) client.close();
  });
});

describe("SIGTERM under load over HTTP/2", { timeout: 120_000 }, () => {
  const authority = makeCertificate({ name: "authority" });
  const certificate = makeCertificate({ issuer: authority });

  for (const scheme of ["http", "https"] as const) {
    it(`fails no request of one at a time, of many on one connection, nor over HTTP/1.1 and gRPC beside them: ${scheme}`, async () => {
      const folder = await mkdtemp(join(tmpdir(), "plinth-stop-"));
      await using _folder = { [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
      const [certFile, keyFile] = [join(folder, "tls.crt"), join(folder, "tls.key")];
      await Promise.all([writeFile(certFile, certificate.cert), writeFile(keyFile, certificate.key)]);
      await using service = await startService("draining-service", {
        scheme,
        environment: {
          PLINTH_LOG_LEVEL: "info",
          PLINTH_HTTP_HTTP2: "true",
          PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: announceMs,
          ...(scheme === "https" && { PLINTH_HTTP_TLS_CERT_FILE: certFile, PLINTH_HTTP_TLS_KEY_FILE: keyFile }),
        },
      });
      const ca = scheme === "https" ? { ca: authority.cert } : {};
      const ways = (["sequential", "shared"] as const).map((way) =>
        startHttp2Load({ url: service.url, path: "/works", loops: connections, way, ...ca }),
      );
      const http1 = startLoad({ url: `${service.url}/works`, connections, ...ca });
      const clients = Array.from({ length: connections }, () => grpcClient(service));
      let calls = 0;
      const lastFailures = Promise.all(clients.map((client) => callUntilGone(client, () => calls++)));
      await http1.untilMore(100);
      await until(() => calls > 100 && ways.every(({ replies }) => replies() > 100), "replies on every wire", limitMs);
      const before = ways.map(({ replies }) => replies());
      service.program.signal("SIGTERM");
      for (const { failures, refused, unaccepted } of await Promise.all(ways.map(({ ended }) => ended))) {
        assert.deepEqual(failures, []);
        assert.ok(refused <= mostRefused && unaccepted <= connections, `${refused} refused, ${unaccepted} unaccepted`);
      }
      await http1.ended;
      const { statuses, unaccepted: _, ...rest } = http1.report();
      assert.deepEqual([Object.keys(statuses), rest], [["200"], { broken: [], refused: connections }]);
      for (const failure of await lastFailures) assert.match(failure, /^14 .*(ECONNREFUSED|ECONNRESET)/);
      for (const [at, { replies }] of ways.entries())
        assert.ok(replies() > (before[at] ?? 0), "it was served while it announced its stop");
      assert.deepEqual(await service.program.exit, { code: 0, signal: null }, service.program.stderr());
      for (const client of clients) client.close();
    });
  }
});

describe("a second SIGTERM", { timeout: 60_000 }, () => {
  it("ends at once what the first waits for", async () => {
    await using service = await start({ ...patient, PLINTH_HTTP_DEADLINE_MS: "600000" });
    const hanging = dial(service, "GET /hangs HTTP/1.1\r\nHost: a\r\n\r\n");
    await until(async () => (await service.metric("http_server_active_requests")) > 0, "it hangs", limitMs);
    service.program.signal("SIGTERM");
    await until(() => connectable(service).then((is) => !is), "it no longer accepts", limitMs);
    await delay(500); // one that comes within 100 ms of the first is the same, forwarded by whoever started it
    service.program.signal("SIGTERM");
    assert.deepEqual(await service.program.exit, { code: 143, signal: null });
    assert.equal(await hanging.ended, "");
  });
});

function connectable(service: Service): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(portOf(service), "127.0.0.1");
  socket.once("connect", () => resolve(true));
  socket.once("error", () => resolve(false));
  return promise.finally(() => socket.destroy());
}

describe("SIGTERM with everything open", { timeout: 120_000 }, () => {
  it("closes WebSockets with 1001 and ends streams of events at once, so that the stop is no longer than without them", async () => {
    await using service = await start(patient);
    const sockets = Array.from({ length: 20 }, () => new WebSocket(`${service.url.replace("http", "ws")}/socket`));
    await Promise.all(sockets.map((socket) => once(socket, "open")));
    const closed = Promise.all(sockets.map(async (socket) => (await once(socket, "close"))[0].code));
    const streams = Array.from({ length: 20 }, () => dial(service, "GET /events HTTP/1.1\r\nHost: a\r\n\r\n"));
    await until(() => streams.every(({ received }) => received().includes("first")), "events", limitMs);
    service.program.signal("SIGTERM");
    assert.deepEqual(new Set(await closed), new Set([1001]));
    for (const { ended } of streams) assert.ok((await ended).endsWith("\r\n0\r\n\r\n"), "the stream ends whole");
    assert.deepEqual(await service.program.exit, { code: 0, signal: null }, service.program.stderr());
  });

  it("cuts off at the limit an upload that stalls, a handler that hangs and streams of gRPC, which are UNAVAILABLE", async () => {
    await using service = await start({
      PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "700", // of the limit; it leaves as much for the last words
      PLINTH_LIFECYCLE_DRAIN_MS: "1500",
      PLINTH_HTTP_REQUEST_TIMEOUT_MS: "600000",
    });
    const stalled = dial(
      service,
      'POST /upload HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"half',
    );
    const hanging = dial(service, "GET /hangs HTTP/1.1\r\nHost: a\r\n\r\n");
    const client = grpcClient(service);
    const chat = client.chat();
    chat.write({ text: "hello" });
    const [reply] = await once(chat, "data");
    assert.equal(reply.text, "you said hello");
    const chatEnd = failureOf(once(chat, "end"));
    const collecting = client.collect();
    collecting.call.write({ text: "half" });
    const collectEnd = failureOf(collecting.reply);
    await until(async () => (await service.metric("http_server_active_requests")) === 2, "both are under way", limitMs);
    service.program.signal("SIGTERM");
    assert.deepEqual([await stalled.ended, await hanging.ended], ["", ""]);
    assert.deepEqual([(await chatEnd).code, (await collectEnd).code], [unavailable, unavailable]);
    assert.deepEqual(await service.program.exit, { code: 0, signal: null }, service.program.stderr());
    client.close();
  });
});
