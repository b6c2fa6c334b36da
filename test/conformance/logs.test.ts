// Each row of the table of logs: one line for one request, of its own fields, and no new series of metrics.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createLogger } from "@plinth/kernel";
import { until } from "@plinth/kernel/testing";
import { signingKey } from "../../pkg/gateway/src/testing/issuer.ts";
import { openRoute, rawClient, startGateway, type TestGateway } from "../../pkg/gateway/src/testing/kit.ts";
import type { Origin } from "./origins/origin.ts";
import { nodeOrigin } from "./origins/own.ts";
import { logs, secret } from "./tables/logs.ts";

describe("the log and the metrics of a gateway", () => {
  const written: string[] = [];
  let origin: Origin;
  let running: TestGateway;
  before(async () => {
    origin = await nodeOrigin();
    const fields = ["method", "path", "host", "user_agent", "client", "status", "reason", "template"] as const;
    running = await startGateway({
      logger: await createLogger({ destination: { write: (line) => void written.push(line) }, level: "trace" }),
      document: {
        accessLog: { fields: [...fields] },
        jwt: { test: { issuer: "i", audiences: ["a"], jwks: { keys: [signingKey("k").jwk] } } },
        routes: [openRoute(), { name: "admin", match: { path: "/admin" }, service: "s", auth: {} }],
      },
    });
    await running.add(origin);
  });
  after(async () => {
    await running[Symbol.asyncDispose]();
    await origin[Symbol.asyncDispose]();
  });

  for (const { what, send, status, line: expected = {} } of logs) {
    it(`keep to themselves: ${what}`, async () => {
      written.length = 0;
      const client = await rawClient(running.gateway.port);
      client.send(send);
      await client.matching(new RegExp(`^HTTP/1\\.1 ${status} `));
      const isAccess = (text: string): boolean => text.includes('"logger":"access"');
      const isUnparsed = status === 400 && /^HTTP\/1\.1 400 [^]*"reason":"malformed_request"/.test(client.text);
      await until(() => isUnparsed || written.some(isAccess), { what: "the line" });
      client.socket.destroy();
      for (const text of written) {
        assert.match(text, /^\{[ -\uffff]*\}\n$/, "one line");
        assert.doesNotMatch(text, new RegExp(secret));
        assert.ok(text.length < 4_096, `${text.length} characters`);
      }
      const [line, ...more] = written.filter(isAccess).map((text): Record<string, unknown> => JSON.parse(text));
      assert.deepEqual(more, []);
      assert.equal(line?.["forged"], undefined);
      if (!isUnparsed) assert.deepEqual({ ...line, ...expected }, line);
      assert.equal(Reflect.get({}, "admin"), undefined);
    });
  }

  it("have no series for what clients say", async () => {
    const text = await running.metrics();
    const odd = /s3cret|PROPFIND|MKCOL|BREW|\.example|forged|__proto__|jndi|pppp|uuuu/;
    assert.deepEqual(
      text.split("\n").filter((one) => odd.test(one)),
      [],
    );
  });
});
