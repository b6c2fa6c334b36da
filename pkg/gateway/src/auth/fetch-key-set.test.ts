import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fetchKeySet, maxKeySetBytes } from "@plinth/transport/jwt";
import { startIssuer } from "../testing/issuer.ts";
import { httpInstance } from "../testing/kit.ts";

describe("fetchKeySet", () => {
  it("gives up after its time", async () => {
    await using issuer = await startIssuer();
    issuer.answer = "hang";
    await assert.rejects(fetchKeySet(issuer.url, { timeoutMs: 50 }), { name: "TimeoutError" });
  });

  it("gives up when told", async () => {
    await using issuer = await startIssuer();
    issuer.answer = "hang";
    const controller = new AbortController();
    const fetched = fetchKeySet(issuer.url, { timeoutMs: 5_000, signal: controller.signal });
    controller.abort(new Error("told"));
    await assert.rejects(fetched, /told/);
  });

  it("follows no redirect", async () => {
    let asked = 0;
    await using other = await httpInstance((_request, response) => {
      asked++;
      response.end("{}");
    });
    await using issuer = await startIssuer();
    issuer.answer = { status: 302, body: "", headers: { location: `http://127.0.0.1:${other.port}/` } };
    await assert.rejects(fetchKeySet(issuer.url, { timeoutMs: 5_000 }));
    assert.equal(asked, 0);
  });

  it("stops reading at the size limit", async () => {
    let written = 0;
    await using endless = await httpInstance((_request, response) => {
      const write = (): void => {
        while (!response.destroyed && response.write("x".repeat(65_536))) written += 65_536;
      };
      response.on("drain", write);
      write();
    });
    await assert.rejects(
      fetchKeySet(`http://127.0.0.1:${endless.port}/`, { timeoutMs: 5_000 }),
      new RegExp(`larger than ${maxKeySetBytes}`),
    );
    assert.ok(written < 50 * maxKeySetBytes);
  });

  for (const status of [204, 304, 401, 404, 500]) {
    it(`refuses status ${status}`, async () => {
      await using issuer = await startIssuer();
      issuer.answer = { status, body: status === 204 || status === 304 ? "" : "{}" };
      await assert.rejects(fetchKeySet(issuer.url, { timeoutMs: 5_000 }), new RegExp(`status ${status}`));
    });
  }
});
