// Scanners, a real Prometheus and its linter against real processes: metrics stay as many as they were, and are what Prometheus takes.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { findFreePorts, lintMetrics, startPrometheus } from "../../scripts/servers/index.ts";
import { ask, seriesOf } from "../support/http.ts";
import { asRecord } from "../support/json.ts";
import { type Platform, startPlatform } from "../support/platform.ts";
import { marker, randomRequest, scanGrpc, scanHttp, scanRaw, seededRandom } from "../support/scan.ts";
import { type Service, startService } from "../support/service.ts";
import { until } from "../support/until.ts";

const seed = Date.now() % 1_000_000;
const requests = 10_000;
const greet = "/plinth.examples.greeter.v1.GreeterService/Greet";

const [grpcPort] = await findFreePorts(1);
let service: Service;
let platform: Platform;
before(async () => {
  const environment = { PLINTH_GRPC_PORT: String(grpcPort) };
  [service, platform] = await Promise.all([startService("scanned-service", { environment }), startPlatform()]);
});
after(async () => {
  await service?.[Symbol.asyncDispose]();
  await platform?.[Symbol.asyncDispose]();
});

const gatewayMetrics = (): string => `http://127.0.0.1:${platform.ports.ops}/metrics`;

/** Without what tells of the process alone: which collections of garbage there were, which resources are in use. */
async function seriesAt(metricsUrl: string): Promise<string[]> {
  const { text } = await ask(metricsUrl);
  const lines = text.split("\n").filter((line) => line !== "" && !/^#|^process_/.test(line));
  return lines.map((line) => line.slice(0, line.lastIndexOf(" "))).toSorted();
}

/** The values that a label has in the series of a metric. */
function valuesOf(series: readonly string[], name: string, label: string): string[] {
  const own = series.filter((line) => line.startsWith(`${name}{`));
  return [...new Set(own.flatMap((line) => new RegExp(`[{,]${label}="([^"]*)"`).exec(line)?.[1] ?? []))].toSorted();
}

/** The processor's time of one scrape of the process, in milliseconds, of many. */
async function scrapeCpuMs(metricsUrl: string): Promise<number> {
  const scrapes = 50;
  const spentSeconds = async (): Promise<number> => seriesOf((await ask(metricsUrl)).text, "process_cpu_seconds_total");
  const before = await spentSeconds();
  for (let scrape = 1; scrape < scrapes; scrape += 1) await ask(metricsUrl, { headers: { "accept-encoding": "gzip" } });
  return (((await spentSeconds()) - before) * 1e3) / scrapes;
}

// Ten times what one of 5 000 series may take; a machine that is busy with other tests takes longer for everything.
const scrapeLimitMs = 200;

describe(`${requests} random requests (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const knownMethods = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "_OTHER"];

  /** Each method that is a label with each of `paths`, so that no rare pair comes for the first time later. */
  const warm = async (url: string, paths: readonly string[]): Promise<void> => {
    const methods = knownMethods.map((method) => (method === "_OTHER" ? "PURGE" : method));
    const left = methods.flatMap((method) => paths.map((path) => ({ method, path })));
    const count = left.length;
    await scanHttp({ url, count, next: () => left.pop() ?? { method: "GET", path: "/none" }, random });
  };

  it("leave a service with the series it had: methods, paths, hosts, user agents, statuses of handlers, gRPC methods", async () => {
    const metricsUrl = `${service.url}/metrics`;
    const known = ["/notes/*", "/status/*", greet];
    const scan = async (count: number): Promise<void> => {
      const replies = await scanHttp({ url: service.url, count, next: () => randomRequest(known, random), random });
      assert.ok(replies > 0.95 * count, `${replies} replies`);
      await scanRaw(service.url, count / 100, random);
      assert.equal(
        await scanGrpc({ address: `127.0.0.1:${grpcPort}`, count: count / 5, known: [greet], random }),
        count / 5,
      );
    };
    // warm: every status that a handler can send, then a mix
    const statuses = Array.from({ length: 800 }, (_, index) => `/status/${200 + index}`);
    for (const method of ["GET", "HEAD"]) {
      const left = [...statuses];
      const next = () => ({ method, path: left.pop() ?? "/" });
      await scanHttp({ url: service.url, count: statuses.length, next, random });
    }
    await warm(service.url, ["/notes/7", "/none", greet]);
    await scan(requests / 5);
    const before = await seriesAt(metricsUrl);
    await scan(requests);
    const after = await seriesAt(metricsUrl);
    assert.deepEqual(after, before);
    assert.doesNotMatch(after.join("\n"), new RegExp(marker));
    const name = "http_server_request_duration_seconds_count";
    assert.deepEqual(valuesOf(after, name, "method"), knownMethods);
    assert.deepEqual(valuesOf(after, name, "route"), ["/notes/:id", greet, "/status/:status", "unmatched"]);
    assert.ok(valuesOf(after, name, "status").includes("_OTHER"));
    assert.deepEqual(valuesOf(after, "grpc_server_call_duration_seconds_count", "method"), [
      greet.slice(1),
      "unmatched",
    ]);
    assert.deepEqual(valuesOf(after, "metrics_series_overflow_total", "metric"), []);
    assert.ok((await scrapeCpuMs(metricsUrl)) < scrapeLimitMs);
    assert.equal(await lintMetrics((await ask(metricsUrl)).text), "");
  });

  it("leave the gateway with the series it had", async () => {
    const known = ["/hello/*", "/notes", "/notes/*"];
    const scan = async (count: number): Promise<void> => {
      const replies = await scanHttp({ url: platform.url, count, next: () => randomRequest(known, random), random });
      assert.ok(replies > 0.95 * count, `${replies} replies`);
      await scanRaw(platform.url, count / 100, random);
    };
    await warm(platform.url, ["/hello/ada", "/notes", "/notes/7", "/none"]);
    await scan(requests / 2);
    const before = await seriesAt(gatewayMetrics());
    await scan(requests);
    const after = await seriesAt(gatewayMetrics());
    assert.deepEqual(after, before);
    assert.doesNotMatch(after.join("\n"), new RegExp(marker));
    const routes = ["hello", "notes-delete", "notes-read", "notes-write", "unmatched"];
    assert.deepEqual(valuesOf(after, "gateway_requests_total", "route"), routes);
    assert.deepEqual(valuesOf(after, "gateway_requests_total", "method"), knownMethods);
    assert.ok((await scrapeCpuMs(gatewayMetrics())) < scrapeLimitMs);
    assert.equal(await lintMetrics((await ask(gatewayMetrics())).text), "");
  });
});

describe("a real Prometheus", () => {
  /** Every app of the platform, and a service with gRPC. */
  const targets = (): string[] => [
    new URL(service.url).host,
    `127.0.0.1:${platform.ports.ops}`,
    ...["notes", "greeter", "issuer's keys"].map((app) => new URL(platform.addressOf(app)).host),
  ];

  it("finds nothing to complain of in what any app of the platform shows", async () => {
    for (const target of targets())
      assert.equal(await lintMetrics((await ask(`http://${target}/metrics`)).text), "", target);
  });

  it("scrapes all of them as OpenMetrics without a warning, and answers with their numbers and exemplars", async () => {
    const traceId = "5".repeat(32);
    const headers = { traceparent: `00-${traceId}-${"6".repeat(16)}-01` };
    await using prometheus = await startPrometheus({ targets: targets() });
    const found = async (query: string): Promise<Record<string, unknown>[]> => {
      const { result } = asRecord(await prometheus.ask("query", { query }));
      assert.ok(Array.isArray(result));
      return result.map(asRecord);
    };
    const isUp = async (): Promise<boolean> => (await found("up == 1")).length === targets().length;
    await until(isUp, "all targets are up", 30_000);
    const asked = 7;
    for (let index = 0; index < asked; index += 1) await ask(`${service.url}/notes/prometheus`, { headers });
    const count = `http_server_request_duration_seconds_count{route="/notes/:id",method="GET",status="200"}`;
    const before = seriesOf((await ask(`${service.url}/metrics`)).text, "http_server_request_duration_seconds_count", {
      route: "/notes/:id",
      method: "GET",
      status: "200",
    });
    const hasCount = async (): Promise<boolean> => (await found(`${count} == ${before}`)).length === 1;
    await until(hasCount, `Prometheus has ${before} requests`, 30_000);
    const exemplars = async (): Promise<string> =>
      JSON.stringify(
        await prometheus.ask("query_exemplars", {
          query: `http_server_request_duration_seconds_bucket{route="/notes/:id"}`,
          start: String(Date.now() / 1e3 - 600),
          end: String(Date.now() / 1e3 + 60),
        }),
      );
    await until(async () => (await exemplars()).includes(traceId), "Prometheus has the exemplar", 30_000);
    const { activeTargets } = asRecord(await prometheus.ask("targets"));
    assert.ok(Array.isArray(activeTargets));
    for (const target of activeTargets.map(asRecord)) {
      assert.deepEqual([target["health"], target["lastError"]], ["up", ""], String(target["scrapeUrl"]));
    }
    // a unit and a type for each metric: what it was told in OpenMetrics
    const metadata = asRecord(await prometheus.ask("metadata", { metric: "http_server_request_duration_seconds" }));
    assert.deepEqual(metadata["http_server_request_duration_seconds"], [
      { type: "histogram", unit: "seconds", help: "Time from the request's head to the end of the reply." },
    ]);
    assert.equal(prometheus.warnings(), "");
  });
});
