// Clients that make the gateway hold something for as long as they like: each is ended within its time, others are served meanwhile, and nothing stays.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe } from "node:test";
import { connect as connectTls } from "node:tls";
import { until } from "@plinth/kernel/testing";
import type { GatewaySettingsInput } from "../../pkg/gateway/src/options.ts";
import {
  exchangeRaw,
  httpInstance,
  openRoute,
  type RawClient,
  rawClient,
  socketInstance,
  startGateway,
  type TestGateway,
} from "../../pkg/gateway/src/testing/kit.ts";
import { makeCertificate } from "../../pkg/transport/src/testing/certificates.ts";
import { faultTest } from "../support/fault-row.ts";
import { memoryInUse } from "../support/memory.ts";

const limits: GatewaySettingsInput = {
  headersTimeoutMs: 1_000,
  requestTimeoutMs: 20_000,
  keepAliveTimeoutMs: 1_000,
  minRateGraceMs: 1_000,
};
const sockets = 2_000;
/** The same for all, so that what grows is the gateway. */
const replies: Readonly<Record<string, Buffer>> = {
  "/large": Buffer.alloc(8 * 1024 * 1024, "x"),
  "/some": Buffer.alloc(65_536, "x"),
};
const maxGrowthBytes = 64 * 1024 * 1024;
const post = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const stranger = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

interface Exhaustion {
  readonly what: string;
  readonly clients: number;
  /** Sent at once. */
  readonly first: string | Buffer;
  /** And this again and again, as long as the connection is there. */
  readonly drip?: string | Buffer;
  readonly dripEachMs?: number;
  /** What each is told, or none where the connection is just ended. */
  readonly told: RegExp;
  /** It reads nothing. */
  readonly isDeaf?: boolean;
  readonly settings?: GatewaySettingsInput;
  readonly isTls?: boolean;
}

const table: readonly Exhaustion[] = [
  {
    what: "a head, a byte at a time",
    clients: 500,
    first: "GET /x HTTP/1.1\r\nHost: a\r\nX-A: ",
    drip: "x",
    told: /^HTTP\/1\.1 408 [^]*"reason":"request_timeout"/,
  },
  { what: "nothing at all", clients: 1_000, first: "", told: /^(HTTP\/1\.1 408 [^]*)?$/ },
  {
    what: "half a request, and no more",
    clients: 500,
    first: `${post}5\r\nhe`,
    told: /^HTTP\/1\.1 408 [^]*"reason":"body_too_slow"/,
  },
  {
    what: "a body, a byte at a time",
    clients: 500,
    first: `${post}ffff\r\n`,
    drip: "x",
    told: /^HTTP\/1\.1 408 [^]*"reason":"body_too_slow"/,
  },
  {
    what: "chunks of one byte each",
    clients: 500,
    first: post,
    drip: "1\r\nx\r\n",
    told: /^HTTP\/1\.1 408 [^]*"reason":"body_too_slow"/,
  },
  {
    what: "an extension of a chunk without end",
    clients: 200,
    first: `${post}1;`,
    drip: "x".repeat(100),
    told: /^HTTP\/1\.1 (408 [^]*"reason":"body_too_slow"|413 [^]*"reason":"body_too_large")/,
  },
  {
    what: "a trailer without end",
    clients: 200,
    first: `${post}0\r\nX-A: `,
    drip: "x".repeat(100),
    told: /^HTTP\/1\.1 (408 [^]*"reason":"body_too_slow"|431 [^]*"reason":"headers_too_large")/,
  },
  {
    what: "empty lines before a request, without end",
    clients: 500,
    first: "\r\n",
    drip: "\r\n",
    told: /^HTTP\/1\.1 408 [^]*"reason":"request_timeout"/,
  },
  {
    what: "a gigabyte that is announced",
    clients: 200,
    first: "POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n[[[[",
    told: /^HTTP\/1\.1 413 [^]*"reason":"body_too_large"/,
  },
  {
    what: "a gigabyte in chunks, as fast as it is taken",
    clients: 10,
    first: post,
    drip: `100000\r\n${"[".repeat(0x100000)}\r\n`,
    dripEachMs: 1,
    told: /^HTTP\/1\.1 413 [^]*"reason":"body_too_large"/,
  },
  {
    what: "replies of 8 MiB that nobody reads",
    clients: 100,
    first: "GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
    told: /^/,
    isDeaf: true,
    settings: { minReplyRateBytesPerS: 1_000_000 },
  },
  {
    what: "requests behind each other whose replies nobody reads",
    clients: 50,
    first: "GET /some HTTP/1.1\r\nHost: a\r\n\r\n".repeat(500),
    told: /^/,
    isDeaf: true,
    settings: { minReplyRateBytesPerS: 1_000_000 },
  },
  {
    what: "the first bytes of TLS, one at a time",
    clients: 300,
    first: Buffer.from("16", "hex"),
    drip: Buffer.from("03", "hex"),
    told: /^[^]{0,7}$/,
    isTls: true,
  },
  {
    what: "the first bytes of HTTP/2, and no more",
    clients: 500,
    first: "PRI * HTTP/2.0\r\n",
    told: /^(HTTP\/1\.1 408 [^]*)?$/,
    settings: { http2: { cleartext: true } },
  },
  {
    what: "the first bytes of HTTP/2, one at a time",
    clients: 500,
    first: "P",
    drip: "R",
    told: /^(HTTP\/1\.1 4[^]*)?$/,
    settings: { http2: { cleartext: true } },
  },
  {
    what: "a connection of HTTP/2 without a request, but with PING",
    clients: 200,
    first: Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.from("000000040000000000", "hex")]),
    drip: Buffer.from("0000080600000000000000000000000000", "hex"),
    dripEachMs: 250,
    told: /^/,
    settings: { http2: { cleartext: true } },
  },
];

interface Held {
  /** The gateway has ended it; who reads nothing does not see that, but that a reply has begun. */
  readonly isOver: boolean;
  /** What came on it. */
  end(): string;
}

/** Holds a connection in its way. */
function hold(port: number, { first, drip, dripEachMs = 100, isDeaf = false }: Exhaustion): Held {
  const socket = connect(port, "127.0.0.1");
  let text = "";
  socket.on("error", () => undefined); // what the gateway ends, it may reset
  if (isDeaf) socket.pause();
  else socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  socket.write(first);
  const timer = setInterval(() => {
    if (drip !== undefined && socket.writable && !socket.writableNeedDrain) socket.write(drip);
  }, dripEachMs);
  socket.once("close", () => clearInterval(timer));
  return {
    get isOver() {
      return isDeaf ? socket.bytesRead > 0 : socket.closed;
    },
    end() {
      clearInterval(timer);
      socket.destroy();
      return text;
    },
  };
}

async function assertNothingLeft(running: TestGateway, heldBefore: number): Promise<number> {
  await until(
    async () => {
      const text = await running.metrics();
      return [/gateway_connections 0\n/, /gateway_requests_in_flight 0\n/].every((one) => one.test(text));
    },
    { what: "no connection and no request to be left" },
  );
  assert.deepEqual(running.reports, [], "what clients do is no fault of the gateway");
  const growth = memoryInUse().rss - heldBefore;
  assert.ok(growth < maxGrowthBytes, `${growth} bytes more`);
  return Math.round(growth / 1024 / 1024);
}

describe("the gateway under clients that hold it", () => {
  const folder = mkdtempSync(join(tmpdir(), "exhaustion-"));
  const files = { certFile: join(folder, "crt"), keyFile: join(folder, "key") };
  before(() => {
    const { cert, key } = makeCertificate({ name: "a" });
    writeFileSync(files.certFile, cert);
    writeFileSync(files.keyFile, key);
  });
  after(() => rmSync(folder, { recursive: true }));

  for (const row of table) {
    const { what, clients, told, isTls = false, isDeaf = false, settings } = row;
    faultTest(
      {
        fault: "conformance: exhaustion",
        done: `${clients} clients with ${what}`,
        expected: "each ended in time, others served, less than 64 MiB kept",
      },
      async (witness) => {
        await using instance = await httpInstance((request, response) => {
          request.on("error", () => undefined).resume();
          response.on("error", () => undefined);
          if (request.method === "GET") response.end(replies[request.url ?? ""]);
          else request.once("end", () => response.end());
        });
        await using running = await startGateway({
          settings: {
            ...limits,
            ...settings,
            accessLog: false,
            ...(isTls && { tls: { certificates: [files], handshakeTimeoutMs: 1_000 } }),
          },
        });
        await running.add(instance);
        const { port } = running.gateway;
        const ask = (): Promise<string> => (isTls ? tlsStatus(port) : exchangeRaw(port, stranger));
        for (let at = 0; at < 20; at++) await ask();
        let served = 0;
        const attack = async (): Promise<number> => {
          const beganMs = performance.now();
          const holding = Array.from({ length: clients }, () => hold(port, row));
          await until(
            async () => {
              assert.match(await ask(), /^HTTP\/1\.1 200 /, "others are served");
              served++;
              return (
                holding.every(({ isOver }) => isOver) && /gateway_connections [01]\n/.test(await running.metrics())
              );
            },
            { what: "each to be ended", limitMs: 60_000 },
          );
          const tookMs = performance.now() - beganMs;
          for (const held of holding) {
            const text = held.end();
            if (!isDeaf) assert.match(text, told);
          }
          return tookMs;
        };
        if (isDeaf) await attack(); // what the process takes for good for so much that waits is there by then
        const before = memoryInUse().rss;
        const tookMs = await attack();
        const more = await assertNothingLeft(running, before);
        witness.count({ sent: served, failed: 0 });
        witness.saw(`all ended after ${(tookMs / 1e3).toFixed(1)} s, ${more} MiB more`);
      },
    );
  }

  faultTest(
    {
      fault: "conformance: exhaustion",
      done: `${sockets} WebSockets on which nothing is said`,
      expected: "less than 64 KiB each on both sides, others served, ended with their instances, less than 64 MiB kept",
    },
    async (witness) => {
      await using talking = await socketInstance((socket) => {
        socket.once("data", (chunk) => {
          const [, key = ""] = /sec-websocket-key: (\S+)/i.exec(String(chunk)) ?? [];
          const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
          const agreed = `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`;
          socket.write(`HTTP/1.1 101 Switching Protocols\r\n${agreed}`);
        });
      });
      await using instance = await httpInstance((_request, response) => response.end());
      await using running = await startGateway({
        settings: { ...limits, accessLog: false, upstream: { maxConnections: 2 * sockets } },
        routes: [
          openRoute(),
          openRoute({ name: "talk", match: { path: "/talk" }, service: "talking", websocket: true }),
        ],
      });
      await running.add(instance);
      await running.add(talking, "talking");
      const { port } = running.gateway;
      const before = memoryInUse().rss;
      const upgrade = `GET /talk HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
      const held: RawClient[] = [];
      for (let at = 0; at < sockets; at++) {
        const client = await rawClient(port);
        client.send(upgrade);
        held.push(client);
      }
      await until(
        async () => new RegExp(`gateway_websockets\\{route="talk"\\} ${sockets}\n`).test(await running.metrics()),
        {
          what: "all of them to be open",
          limitMs: 60_000,
        },
      );
      const each = (memoryInUse().rss - before) / sockets;
      assert.ok(each < 65_536, `${each} bytes each`);
      for (let at = 0; at < 50; at++) assert.match(await exchangeRaw(port, stranger), /^HTTP\/1\.1 200 /);
      await talking.close();
      for (const client of held) await client.toEnd();
      const more = await assertNothingLeft(running, before);
      witness.count({ sent: sockets + 50, failed: 0 });
      witness.saw(`${Math.round(each)} bytes each with client and instance, ${more} MiB more`);
    },
  );
});

async function tlsStatus(port: number): Promise<string> {
  const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
  socket.write(stranger);
  let text = "";
  for await (const chunk of socket) text += String(chunk);
  return text;
}
