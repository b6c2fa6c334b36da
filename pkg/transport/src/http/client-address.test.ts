import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { startHttp, type TestHttpOptions } from "../testing/http.ts";
import { RecordingTracing } from "../testing/recording-tracing.ts";

const routes: TestHttpOptions["routes"] = (app) => {
  app.get("/", async ({ clientAddress, ip, id }) => ({ clientAddress, ip, id }));
};

async function told(
  http: { fetch: (path: string, init: RequestInit) => Promise<Response> },
  headers: Record<string, string>,
) {
  const reply = await http.fetch("/", { headers });
  return (await reply.json()) as { clientAddress: string; ip: string; id: string };
}

describe("the client-address layer", () => {
  it("is the peer by default, whatever a caller says", async () => {
    await using http = await startHttp({ routes });
    const headers = { "x-forwarded-for": "203.0.113.7", forwarded: "for=203.0.113.7", "x-real-ip": "203.0.113.7" };
    assert.equal((await told(http, headers)).clientAddress, "127.0.0.1");
  });

  it("is what a trusted proxy says, in the handler, the access log and the span", async () => {
    const tracing = new RecordingTracing();
    await using http = await startHttp({ routes, tracing, settings: { trustedProxies: ["127.0.0.0/8"] } });
    const { clientAddress, ip } = await told(http, { "x-forwarded-for": "127.0.0.1, 203.0.113.7" });
    assert.deepEqual([clientAddress, ip], ["203.0.113.7", "127.0.0.1"]);
    await http.server.close();
    const line = http.lines.withMessage("request")[0];
    assert.equal(line?.["client_address"], "203.0.113.7");
    assert.equal(tracing.spans[0]?.attributes["client.address"], "203.0.113.7");
  });

  it("is not moved by a proxy that is not trusted", async () => {
    await using http = await startHttp({ routes, settings: { trustedProxies: ["10.0.0.0/8"] } });
    assert.equal((await told(http, { "x-forwarded-for": "203.0.113.7" })).clientAddress, "127.0.0.1");
  });
});

describe("the request id of an HTTP server", () => {
  const id = "gateway-id-12345678";

  it("is kept from a trusted peer, as the gateway is by default", async () => {
    await using http = await startHttp({ routes });
    assert.equal((await told(http, { "x-request-id": id })).id, id);
  });

  it("is minted for anybody else, be it that a trusted one forwards for them or not", async () => {
    await using http = await startHttp({ routes, settings: { trustedPeers: ["10.0.0.0/8"] } });
    for (const headers of [{ "x-request-id": id }, { "x-request-id": id, "x-forwarded-for": "10.0.0.1" }]) {
      const { id: own } = await told(http, headers);
      assert.match(own, /^[\da-f]{32}$/);
    }
  });
});
