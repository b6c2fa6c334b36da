// A collector behind TLS is verified before it gets a span.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { coreModule, metricsExposition, tracing } from "@plinth/kernel";
import { testApp } from "@plinth/kernel/testing";
import { telemetryModule } from "@plinth/telemetry";
import { makeCertificate } from "../../pkg/transport/src/testing/certificates.ts";

/** What became of one span. */
async function exportOne(environment: Record<string, string>): Promise<readonly (string | undefined)[]> {
  const app = await testApp({
    name: "sample",
    modules: [coreModule, telemetryModule],
    expose: [metricsExposition],
    config: { environment, defaults: { telemetry: { exportIntervalMs: 60_000, exportTimeoutMs: 5_000 } } },
  });
  const exposition = app.get(metricsExposition);
  app.get(tracing).startSpan("work", { parent: null }).end();
  await app.stop();
  const { body } = await exposition.expose();
  return [...body.matchAll(/^telemetry_spans_total\{outcome="(\w+)"\} 1$/gm)].map(([, outcome]) => outcome);
}

describe("a collector behind TLS", { timeout: 60_000 }, () => {
  it("is verified by the authority that the variable names, and gets nothing without it", async () => {
    const { cert, key } = makeCertificate();
    const other = makeCertificate();
    const folder = await mkdtemp(join(tmpdir(), "plinth-otlp-"));
    let requests = 0;
    const server = createServer({ cert, key }, (request, response) => {
      requests++;
      request.resume().once("end", () => response.end("{}"));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: `https://127.0.0.1:${port}` };
    try {
      await writeFile(join(folder, "ca.pem"), cert);
      await writeFile(join(folder, "other.pem"), other.cert);
      const withCa = (name: string) => exportOne({ ...endpoint, OTEL_EXPORTER_OTLP_CERTIFICATE: join(folder, name) });
      assert.deepEqual(await withCa("other.pem"), ["failed"]);
      assert.deepEqual(await exportOne(endpoint), ["failed"]);
      assert.equal(requests, 0);
      assert.deepEqual(await withCa("ca.pem"), ["exported"]);
      assert.equal(requests, 1);
    } finally {
      server.close();
      server.closeAllConnections();
      await rm(folder, { recursive: true });
    }
  });
});
