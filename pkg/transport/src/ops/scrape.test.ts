import assert from "node:assert/strict";
import { once } from "node:events";
import { get, type IncomingHttpHeaders } from "node:http";
import { describe, it } from "node:test";
import { gunzipSync } from "node:zlib";
import {
  coreModule,
  createHealth,
  createMetrics,
  type ExposedMetrics,
  type ExposeOptions,
  metricsExposition,
  type MetricsExposition,
  provider,
  systemClock,
} from "@plinth/kernel";
import { testApp } from "@plinth/kernel/testing";
import { observe, startHttp, type TestHttp } from "../testing/http.ts";
import { createOpsHandler } from "./handler.ts";
import { opsListener, opsModule } from "./module.ts";

/** What Prometheus 2.42 sends. */
const prometheusAccept =
  "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

const textOf = (body: string): ExposedMetrics => ({ contentType: "text/plain", body });

/** Metrics of more than a packet. */
function manyMetrics(): MetricsExposition {
  const metrics = createMetrics();
  const counter = metrics.counter({ name: "notes_total", help: "Notes.", labels: ["page"] });
  for (let page = 0; page < 100; page += 1) counter.inc({ page: String(page) });
  return metrics;
}

function serve(metrics: MetricsExposition): Promise<TestHttp> {
  return startHttp({ ops: createOpsHandler({ health: createHealth({ clock: systemClock }), metrics }) });
}

interface Scraped {
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

async function scrape(origin: string, headers: Record<string, string> = {}, method = "GET"): Promise<Scraped> {
  const request = get(`${origin}/metrics`, { headers, method, agent: false });
  const [response] = await once(request, "response");
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return { headers: response.headers, body: Buffer.concat(chunks) };
}

describe("a scrape", () => {
  it("is answered with OpenMetrics as Prometheus asks for it, and with text for who asks for nothing", async () => {
    await using http = await serve(manyMetrics());
    const openmetrics = await scrape(http.origin, { accept: prometheusAccept });
    assert.equal(openmetrics.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert.match(String(openmetrics.body), /^notes_total\{page="7"\} 1$(.|\n)*# EOF\n$/m);
    const text = await scrape(http.origin);
    assert.equal(text.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert.doesNotMatch(String(text.body), /EOF/);
    assert.equal(text.headers["vary"], "accept, accept-encoding");
  });

  it("is compressed for who takes gzip, and for nobody else", async () => {
    await using http = await serve(manyMetrics());
    const plain = await scrape(http.origin);
    assert.equal(plain.headers["content-encoding"], undefined);
    for (const encodings of ["gzip", "deflate, GZIP;q=0.5", "*", "br;q=1.0, *;q=0.1"]) {
      const { headers, body } = await scrape(http.origin, { "accept-encoding": encodings });
      assert.equal(headers["content-encoding"], "gzip", encodings);
      assert.equal(Number(headers["content-length"]), body.length);
      assert.ok(body.length < plain.body.length / 2);
      assert.deepEqual(gunzipSync(body), plain.body);
    }
    for (const encodings of ["", "identity", "br, deflate", "gzip;q=0", "*, gzip;q=0", "gzip;q=none", "xgzip"]) {
      const { headers, body } = await scrape(http.origin, { "accept-encoding": encodings });
      assert.equal(headers["content-encoding"], undefined, encodings);
      assert.deepEqual(body, plain.body);
    }
  });

  it("is not compressed when it is small", async () => {
    const exposition = { expose: async () => textOf("a_total 1\n") };
    await using http = await serve(exposition);
    const { headers, body } = await scrape(http.origin, { "accept-encoding": "gzip" });
    assert.deepEqual([headers["content-encoding"], String(body)], [undefined, "a_total 1\n"]);
  });

  it("has the same length for HEAD, and no body", async () => {
    await using http = await serve(manyMetrics());
    const whole = await scrape(http.origin);
    const head = await scrape(http.origin, {}, "HEAD");
    assert.deepEqual([head.headers["content-length"], head.body.length], [String(whole.body.length), 0]);
  });

  it("stops when its client leaves, which is no error, and the next one is answered", async () => {
    const { errors, reports } = await observe();
    const started = Promise.withResolvers<void>();
    const stopped = Promise.withResolvers<void>();
    let isFirst = true;
    const metrics: MetricsExposition = {
      async expose({ signal }: ExposeOptions = {}) {
        if (!isFirst) return textOf("fine 1\n");
        isFirst = false;
        started.resolve();
        await once(signal ?? assert.fail("no signal"), "abort");
        stopped.resolve();
        throw signal?.reason;
      },
    };
    const health = createHealth({ clock: systemClock });
    await using http = await startHttp({ ops: createOpsHandler({ health, metrics, errors }) });
    const client = http.connect();
    client.write("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    await started.promise;
    client.destroy();
    await stopped.promise;
    assert.equal(String((await scrape(http.origin)).body), "fine 1\n");
    assert.deepEqual(await reports(), []);
  });

  it("is answered by what is put in place of the app's own metrics", async () => {
    const all = provider({
      provides: metricsExposition,
      ground: true,
      create: () => ({ expose: async () => textOf("of_all_workers 1\n") }),
    });
    await using app = await testApp({
      name: "ops",
      modules: [coreModule, opsModule],
      overrides: [all],
      config: { defaults: { ops: { port: 0 } } },
    });
    const { body } = await scrape(`http://127.0.0.1:${app.get(opsListener).port}`);
    assert.equal(String(body), "of_all_workers 1\n");
  });
});
