import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { freePort } from "@plinth/kernel/testing";
import { createKeyedGateway } from "./app.ts";
import { createNotes } from "./notes.ts";

process.env["PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS"] = "50"; // no router but the registry has to notice

describe("09-gateway-plugin", () => {
  it("lets in who has a key, and tells the service whose it is", async () => {
    const port = await freePort();
    const [notes, gateway] = [createNotes(), createKeyedGateway(port)];
    for (const app of [notes, gateway]) await app.start();
    try {
      const ask = async (path: string, headers: Record<string, string> = {}): Promise<unknown[]> => {
        const reply = await fetch(`http://127.0.0.1:${port}${path}`, { headers });
        const body: { reason?: string } = JSON.parse(await reply.text());
        return [reply.status, body.reason ?? body];
      };
      assert.deepEqual(await ask("/notes"), [401, "api-key.key_missing"]);
      assert.deepEqual(await ask("/notes", { "x-api-key": "guess" }), [401, "api-key.key_unknown"]);
      assert.deepEqual(await ask("/notes", { "x-api-key": "open-sesame" }), [200, { of: "ada" }]);
      assert.deepEqual(await ask("/health", { "plinth-plugin-api-key-owner": "eve" }), [200, { ok: true }]);
    } finally {
      for (const app of [gateway, notes]) await app.stop();
    }
  });
});
