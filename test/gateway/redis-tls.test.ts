// Rate limits counted in a Redis that speaks TLS.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openRedisRateStore } from "@plinth/resilience";
import { makeCertificate } from "../../pkg/transport/src/testing/certificates.ts";
import { findFreePorts, startRedis } from "../../scripts/servers/index.ts";
import { until } from "../support/until.ts";

describe("a Redis with TLS", () => {
  it("is trusted by its certificate and name alone", async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "plinth-redis-tls-"));
    t.after(() => rmSync(folder, { recursive: true }));
    const { cert, key } = makeCertificate({ name: "redis.test" });
    const [certFile, keyFile] = [join(folder, "cert.pem"), join(folder, "key.pem")];
    writeFileSync(certFile, cert);
    writeFileSync(keyFile, key);
    const [port = 0] = await findFreePorts(1);
    const files = ["--tls-cert-file", certFile, "--tls-key-file", keyFile, "--tls-ca-cert-file", certFile];
    await using server = await startRedis({ args: ["--tls-port", `${port}`, "--tls-auth-clients", "no", ...files] });
    assert.equal(await server.ask("PING"), "+PONG");
    const url = `rediss://127.0.0.1:${port}`;
    const trusting = await openRedisRateStore({ url, tls: { caFile: certFile, serverName: "redis.test" } });
    await until(() => trusting.isReady, "connected", 20_000);
    const ask = { name: "a", key: "k", limit: 3, windowMs: 60_000, cost: 1, owed: 0 };
    assert.equal((await trusting.take(ask)).allowed, true);
    await trusting.close();
    for (const tls of [undefined, { caFile: certFile, serverName: "another.test" }]) {
      const wary = await openRedisRateStore({ url, tls, connectTimeoutMs: 50 });
      await until(() => wary.lastError !== undefined, "an error", 20_000);
      assert.match(String(wary.lastError), tls ? /altnames/ : /self-signed certificate/);
      assert.equal(wary.isReady, false);
      await wary.close();
    }
  });
});
