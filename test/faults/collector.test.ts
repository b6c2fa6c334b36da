// The collector of traces is down, hangs, is slow, or answers nonsense, while a service is under load: nobody who asks notices.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { before, describe, it } from "node:test";
import { startCollector } from "@plinth/telemetry/testing";
import { ask, seriesOf } from "../support/http.ts";
import { startLoad } from "../support/load.ts";
import { logOf } from "../support/platform.ts";
import { type Service, startService } from "../support/service.ts";

const perSecond = 200;
const requests = 400;
const maxQueued = 50;
const exportTimeoutMs = 1_000;
const warning = "spans cannot be exported; they are dropped until the collector answers";

const startTraced = (endpoint: string): Promise<Service> =>
  startService("logging-service", {
    environment: {
      OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
      PLINTH_TELEMETRY_MAX_QUEUED_SPANS: String(maxQueued),
      PLINTH_TELEMETRY_EXPORT_INTERVAL_MS: "50",
      PLINTH_TELEMETRY_EXPORT_TIMEOUT_MS: String(exportTimeoutMs),
    },
  });

interface Run {
  readonly medianMs: number;
  readonly slowestMs: number;
  readonly exported: number;
  readonly failed: number;
  readonly dropped: number;
}

/** Two seconds of load, in which no request may fail and the queue may not grow beyond its bound. */
async function run({ url }: Service): Promise<Run> {
  const load = startLoad({ url: `${url}/work`, connections: 16, perSecond });
  const scrape = async (): Promise<string> => (await ask(`${url}/metrics`)).text;
  for (let part = 0; part < 5; part++) {
    await load.untilMore(requests / 5);
    const queued = seriesOf(await scrape(), "telemetry_queued_spans");
    assert.ok(queued <= maxQueued, `${queued} spans wait`);
  }
  const { statuses, broken, refused } = await load.stop();
  assert.deepEqual([Object.keys(statuses), broken, refused], [["200"], [], 0]);
  const text = await scrape();
  const spans = (outcome: string): number => seriesOf(text, "telemetry_spans_total", { outcome });
  return {
    ...load.durations(),
    exported: spans("exported"),
    failed: spans("failed"),
    dropped: spans("dropped"),
  };
}

/** Takes connections on a free port and treats each as told. */
async function serve(server: Server): Promise<AsyncDisposable & { readonly url: string }> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).once("close", () => sockets.delete(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, "close");
    },
  };
}

async function startDown(): Promise<AsyncDisposable & { readonly url: string }> {
  const gone = await serve(createServer());
  await gone[Symbol.asyncDispose]();
  return { url: gone.url, [Symbol.asyncDispose]: async () => {} };
}

const faults: readonly (readonly [what: string, start: () => Promise<AsyncDisposable & { readonly url: string }>])[] = [
  ["is down", startDown],
  ["takes connections and never answers", () => serve(createServer((socket) => void socket.resume()))],
  [
    "answers 500",
    () =>
      serve(
        createHttpServer(
          (request, response) => void request.resume().once("end", () => response.writeHead(500).end("no")),
        ),
      ),
  ],
  [
    "answers 429 and to come back in an hour",
    () =>
      serve(
        createHttpServer(
          (request, response) =>
            void request.resume().once("end", () => response.writeHead(429, { "retry-after": "3600" }).end()),
        ),
      ),
  ],
  [
    "answers 400",
    () =>
      serve(
        createHttpServer(
          (request, response) => void request.resume().once("end", () => response.writeHead(400).end("no")),
        ),
      ),
  ],
  [
    "answers what is no HTTP",
    () => serve(createServer((socket) => void socket.once("data", () => socket.end("220 smtp.example.com ESMTP\r\n")))),
  ],
  [
    "cuts every connection",
    () => serve(createServer((socket) => void socket.once("data", () => socket.resetAndDestroy()))),
  ],
];

describe("under load, a collector that", { timeout: 240_000 }, () => {
  let usual: Run;
  before(async () => {
    await using collector = await startCollector();
    await using service = await startTraced(collector.url);
    usual = await run(service);
    assert.ok(usual.exported > 0);
    assert.deepEqual([usual.failed, usual.dropped], [0, 0]);
  });

  /** The same work on the same machine, give or take what else runs on it; an export that held up requests would show as its limit. */
  const assertUnhurt = ({ medianMs, slowestMs }: Run): void => {
    assert.ok(medianMs < 5 * usual.medianMs + 5, `${medianMs} ms instead of ${usual.medianMs} ms`);
    assert.ok(slowestMs < usual.slowestMs + exportTimeoutMs, `${slowestMs} ms instead of ${usual.slowestMs} ms`);
  };

  /** It ends in order, and does not wait for the collector beyond its limit. */
  const assertStops = async ({ program }: Service): Promise<void> => {
    const startedAtMs = performance.now();
    program.signal("SIGTERM");
    assert.deepEqual(await program.exit, { code: 0, signal: null }, program.stderr());
    assert.ok(performance.now() - startedAtMs < 10 * exportTimeoutMs);
  };

  for (const [what, start] of faults) {
    it(`${what} costs no request anything, is warned of once, and what is lost is counted`, async (t) => {
      await using collector = await start();
      await using service = await startTraced(collector.url);
      const seen = await run(service);
      t.diagnostic(
        `median ${seen.medianMs.toFixed(2)} ms, usually ${usual.medianMs.toFixed(2)}; ${seen.failed} failed, ${seen.dropped} dropped`,
      );
      assertUnhurt(seen);
      assert.equal(seen.exported, 0);
      // all but those that wait, or are under way
      assert.ok(
        seen.failed + seen.dropped >= requests - 3 * maxQueued,
        `${seen.failed} failed, ${seen.dropped} dropped`,
      );
      await assertStops(service);
      assert.equal(logOf(service.program.stdout()).filter(({ message }) => message === warning).length, 1);
    });
  }

  it("is slow costs no request anything, and gets as many spans as it can take", async (t) => {
    await using collector = await serve(
      createHttpServer((request, response) => {
        request.resume().once("end", () => void setTimeout(() => response.end("{}"), exportTimeoutMs / 2));
      }),
    );
    await using service = await startTraced(collector.url);
    const seen = await run(service);
    t.diagnostic(`${seen.exported} exported, ${seen.dropped} dropped`);
    assertUnhurt(seen);
    assert.ok(seen.exported > 0 && seen.dropped > 0, `${seen.exported} exported, ${seen.dropped} dropped`);
    await assertStops(service);
  });

  it("comes back gets spans again, which is said once", async () => {
    const gone = await startDown();
    await using service = await startTraced(gone.url);
    await run(service);
    await using collector = await startCollector({ port: Number(new URL(gone.url).port) });
    const load = startLoad({ url: `${service.url}/work`, connections: 4, perSecond });
    await collector.waitFor(({ name }) => name.includes("/work"));
    await load.stop();
    await assertStops(service);
    const messages = logOf(service.program.stdout()).map(({ message }) => message);
    assert.equal(messages.filter((message) => message === "spans are exported again").length, 1);
    assert.equal(messages.filter((message) => message === warning).length, 1);
  });
});
