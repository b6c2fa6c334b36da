// What collectors answer, and what becomes of the spans.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { describe, it } from "node:test";
import { gunzipSync } from "node:zlib";
import { type ConfigData, coreModule, metricsExposition, Secret, tracing } from "@plinth/kernel";
import { testApp } from "@plinth/kernel/testing";
import { telemetryModule } from "./module.ts";

async function listening(server: Server): Promise<AsyncDisposable & { readonly url: string }> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Exports one span, stops, and tells what became of it. */
async function exportOne(environment: Record<string, string>, telemetry: ConfigData = {}) {
  const app = await testApp({
    name: "sample",
    modules: [coreModule, telemetryModule],
    expose: [metricsExposition],
    config: {
      environment,
      defaults: { telemetry: { exportIntervalMs: 60_000, exportTimeoutMs: 20_000, ...telemetry } },
    },
  });
  const exposition = app.get(metricsExposition);
  app.get(tracing).startSpan("work", { parent: null }).end();
  await app.stop();
  const { body } = await exposition.expose();
  const outcomes = [...body.matchAll(/^telemetry_spans_total\{outcome="(\w+)"\} 1$/gm)].map(([, outcome]) => outcome);
  return { outcomes, logged: app.logged };
}

const answering = (answer: (response: ServerResponse, tries: number) => void): RequestListener =>
  (() => {
    let tries = 0;
    return (request: IncomingMessage, response: ServerResponse) =>
      void request.resume().once("end", () => answer(response, ++tries));
  })();

describe("a collector that answers", { timeout: 60_000 }, () => {
  const table: Readonly<
    Record<string, readonly [answer: (response: ServerResponse, tries: number) => void, outcome: string, tries: number]>
  > = {
    "200": [(response) => response.end("{}"), "exported", 1],
    "200 with what is no JSON": [(response) => response.end("<html>hello"), "exported", 1],
    "200 and says that it refused some": [
      (response) => response.end('{"partialSuccess":{"rejectedSpans":"1","errorMessage":"no"}}'),
      "exported",
      1,
    ],
    "400": [(response) => response.writeHead(400).end("no"), "failed", 1],
    "401": [(response) => response.writeHead(401).end(), "failed", 1],
    "404": [(response) => response.writeHead(404).end(), "failed", 1],
    "500": [(response) => response.writeHead(500).end("x".repeat(10_000)), "failed", 1],
    "302 to elsewhere, which is not followed": [
      (response) => response.writeHead(302, { location: "/elsewhere" }).end(),
      "failed",
      1,
    ],
    "429 and to come back after the limit": [
      (response) => response.writeHead(429, { "retry-after": "3600" }).end(),
      "failed",
      1,
    ],
    "503 and to come back at once, then 200": [
      (response, tries) => response.writeHead(tries === 1 ? 503 : 200, { "retry-after": "0" }).end("{}"),
      "exported",
      2,
    ],
    "429 without saying when, then 200": [
      (response, tries) => response.writeHead(tries === 1 ? 429 : 200).end("{}"),
      "exported",
      2,
    ],
    "200 and breaks off": [
      (response) => {
        response.writeHead(200, { "content-length": "100" }).write("{");
        setImmediate(() => response.destroy());
      },
      "exported",
      1,
    ],
  };
  for (const [what, [answer, outcome, expectedTries]] of Object.entries(table)) {
    it(what, async () => {
      let asked = 0;
      const listener = answering((response, tries) => {
        asked = tries;
        answer(response, tries);
      });
      await using collector = await listening(createServer(listener));
      const { outcomes } = await exportOne({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url });
      assert.deepEqual([outcomes, asked], [[outcome], expectedTries]);
    });
  }

  it("gets headers, compression and the resource as the variables say, and the log shows no secret", async () => {
    const seen: { headers: IncomingMessage["headers"]; body: string }[] = [];
    const listener: RequestListener = (request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        seen.push({ headers: request.headers, body: gunzipSync(Buffer.concat(chunks)).toString() });
        response.writeHead(500).end();
      });
    };
    await using collector = await listening(createServer(listener));
    const environment = {
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_HEADERS: "api-key=s3cret-a",
      OTEL_EXPORTER_OTLP_COMPRESSION: "gzip",
      OTEL_SERVICE_NAME: "shop",
      OTEL_RESOURCE_ATTRIBUTES: "team=a",
    };
    const { logged } = await exportOne(environment, { headers: { "x-own": "s3cret-b" } });
    const [request] = seen;
    assert.deepEqual([request?.headers["api-key"], request?.headers["x-own"]], ["s3cret-a", "s3cret-b"]);
    for (const key of [
      "service.instance.id",
      "host.name",
      "process.pid",
      "telemetry.sdk.name",
      "telemetry.sdk.version",
    ])
      assert.match(request?.body ?? "", new RegExp(`"key":"${key.replaceAll(".", "\\.")}"`));
    assert.match(request?.body ?? "", /"service\.name","value":\{"stringValue":"shop"\}/);
    assert.match(request?.body ?? "", /"team","value":\{"stringValue":"a"\}/);
    assert.doesNotMatch(JSON.stringify(logged.lines), /s3cret/);
    assert.equal(String(new Secret("s3cret")), "***");
  });
});
