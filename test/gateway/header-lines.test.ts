// As many header lines as the gateway takes reach a server of ours behind it, with all that the gateway may add.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { signingKey, tokenOf } from "../../pkg/gateway/src/testing/issuer.ts";
import { exchangeRaw, startGateway } from "../../pkg/gateway/src/testing/kit.ts";
import { startHttp } from "../../pkg/transport/src/testing/http.ts";

const taken = 80;
const lineLimit = 100;

describe("a request with as many header lines as the gateway takes", () => {
  it("is within what a server of ours takes behind it, and one more is refused with the reason", async () => {
    const key = signingKey("es");
    let most = 0;
    await using server = await startHttp({
      instanceId: "s-1",
      routes: (app) =>
        void app.post("/", (request) => {
          most = Math.max(most, request.raw.rawHeaders.length / 2);
          return {};
        }),
    });
    await using running = await startGateway({
      document: {
        jwt: {
          test: {
            issuer: "test-issuer",
            audiences: ["test"],
            jwks: { keys: [key.jwk] },
            headers: { "plinth-tenant": "tenant", "plinth-plan": "plan" },
          },
        },
        routes: [
          {
            name: "closed",
            match: { path: "/" },
            service: "s",
            auth: { forwardToken: true },
            headers: { request: { set: { "x-one": "1", "x-two": "2", "x-three": "3" } } },
          },
        ],
      },
    });
    await running.add({ port: server.server.port });
    const own = [
      "Host: a",
      "Connection: close",
      "TE: trailers",
      "Via: 1.1 other",
      "Content-Type: application/json",
      "Content-Length: 2",
      `Authorization: Bearer ${tokenOf(key, { tenant: "t", plan: "p" })}`,
    ];
    const ask = (lines: number): Promise<string> => {
      const more = Array.from({ length: lines - own.length }, (_, at) => `X-More-${at}: y`);
      return exchangeRaw(running.gateway.port, `POST / HTTP/1.1\r\n${[...own, ...more].join("\r\n")}\r\n\r\n{}`);
    };
    assert.match(await ask(taken), /^HTTP\/1\.1 200 /);
    assert.ok(most > taken + 8 && most <= lineLimit, `${most} lines`);
    const refused = await ask(taken + 1);
    assert.match(refused, /^HTTP\/1\.1 431 [^]*"reason":"headers_too_large"/);
  });
});
