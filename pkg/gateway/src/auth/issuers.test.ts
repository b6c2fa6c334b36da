import { describe, it } from "node:test";
import { createMetrics, systemClock } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import { parseGatewayDocument } from "../config/document.ts";
import { startIssuer } from "../testing/issuer.ts";
import { createIssuerKeepers } from "./issuers.ts";

describe("createIssuerKeepers", () => {
  it("times the fetches of keys as requests to their provider", async () => {
    await using issuer = await startIssuer();
    issuer.answer = { status: 503, body: "{}" };
    const metrics = createMetrics();
    const { jwt } = parseGatewayDocument({
      jwt: { main: { issuer: "test-issuer", audiences: ["test"], jwks: issuer.url } },
      routes: [],
    });
    const current = () => [];
    const keepers = createIssuerKeepers({ jwksUrls: {}, clock: systemClock, log: undefined, metrics, current });
    const [created] = keepers.issuersOf(jwt);
    created?.keys.start();
    try {
      const count = /^http_client_request_duration_seconds_count\{peer="jwks:main",method="GET",status="503"\} 1$/m;
      await until(async () => (count.test((await metrics.expose()).body) ? true : undefined));
    } finally {
      created?.keys.close();
    }
  });
});
