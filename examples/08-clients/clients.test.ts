import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { freePort } from "@plinth/kernel/testing";
import { createAuthz } from "./authz.ts";
import { createNotes } from "./notes.ts";

process.env["PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS"] = "50"; // no router but the registry has to notice

describe("08-clients", () => {
  for (const transport of ["grpc", "http"] as const) {
    it(`asks Authz over ${transport}, and fails nothing while one of its two instances stops`, async () => {
      const port = await freePort();
      const [first, second, notes] = [createAuthz(), createAuthz(), createNotes(port, transport)];
      const read = (who: string): Promise<Response> => fetch(`http://127.0.0.1:${port}/notes/1?as=${who}`);
      for (const app of [first, second, notes]) await app.start();
      try {
        assert.deepEqual(await (await read("ada")).json(), { id: "1", text: "buy milk" });
        const refused = await read("eve");
        assert.equal(refused.status, 403);
        assert.match(await refused.text(), /ERR_NOTES_FORBIDDEN/);
        const stopped = first.stop();
        for (let at = 0; at < 10 || first.state !== "stopped"; at++) {
          const reply = await read("ada");
          assert.equal(reply.status, 200, await reply.text());
        }
        await stopped;
        await second.stop();
        const alone = await read("ada");
        assert.equal(alone.status, 503);
      } finally {
        for (const app of [notes, second, first]) await app.stop();
      }
    });
  }
});
