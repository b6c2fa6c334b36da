// As many connections as the system lets two processes have, up to ten thousand, which ask once and then say nothing: they are served
// and counted, one more is closed at once, and a stop ends them all without waiting for any limit.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { describe, it } from "node:test";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { startService } from "../support/service.ts";
import { until } from "../support/until.ts";

const limitMs = 60_000;
/** Files that each process has open beside them. */
const otherFiles = 300;
/** What may be begun at once: the system keeps so many for a server that is slow to accept. */
const atOnce = 100;
const http2Hello = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
]);

const hellos = {
  "HTTP/1.1": Buffer.from("GET /works HTTP/1.1\r\nHost: a\r\n\r\n"),
  "HTTP/2": http2Hello,
} as const;

function openFilesLimit(): number {
  const report: { readonly userLimits?: { readonly open_files?: { readonly soft?: unknown } } } | undefined =
    JSON.parse(JSON.stringify(process.report.getReport()));
  const soft = report?.userLimits?.open_files?.soft;
  return typeof soft === "number" ? soft : Infinity;
}

/** A connection that has had an answer. */
async function open(port: number, hello: Buffer): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(hello);
  await once(socket, "data");
  return socket.resume();
}

const closed = async (socket: Socket): Promise<void> => {
  if (!socket.destroyed) await once(socket, "close");
};

describe("thousands of idle connections", { timeout: 240_000 }, () => {
  const count = Math.min(10_000, openFilesLimit() - otherFiles);

  for (const [wire, hello] of Object.entries(hellos))
    it(`are held and counted, one more is refused, and a stop ends them without waiting: ${wire}`, async () => {
      const [ops = 0] = await findFreePorts(1);
      await using service = await startService("draining-service", {
        opsPort: ops,
        environment: {
          PLINTH_OPS_PORT: String(ops),
          PLINTH_HTTP_HTTP2: "true",
          PLINTH_HTTP_MAX_CONNECTIONS: String(count),
          PLINTH_HTTP_HEADERS_TIMEOUT_MS: "600000",
          PLINTH_HTTP_REQUEST_TIMEOUT_MS: "600000",
          PLINTH_HTTP_KEEP_ALIVE_TIMEOUT_MS: "600000",
          PLINTH_HTTP_ACCESS_LOG: "false",
          PLINTH_LIFECYCLE_DRAIN_MS: "600000",
          PLINTH_LIFECYCLE_STOP_MS: "1200000",
        },
      });
      const port = Number(new URL(service.url).port);
      const sockets: Socket[] = [];
      try {
        while (sockets.length < count) {
          const length = Math.min(atOnce, count - sockets.length);
          sockets.push(...(await Promise.all(Array.from({ length }, () => open(port, hello)))));
        }
        assert.equal(await service.metric("http_server_connections"), count);
        const oneMore = connect(port, "127.0.0.1").on("error", () => {});
        await closed(oneMore);
        assert.deepEqual(
          [
            await service.metric("http_server_connections"),
            await service.metric("http_server_connections_dropped_total"),
          ],
          [count, 1],
        );
        const [last] = sockets.splice(-1);
        last?.destroy();
        await until(
          async () => (await service.metric("http_server_connections")) === count - 1,
          "there is room",
          limitMs,
        );
        sockets.push(await open(port, hello));

        service.program.signal("SIGTERM");
        await Promise.all(sockets.map(closed));
        assert.deepEqual(await service.program.exit, { code: 0, signal: null }, service.program.stderr());
      } finally {
        for (const socket of sockets) socket.destroy();
      }
    });
});
