import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { freePort } from "@plinth/kernel/testing";
import { createNotes, createReader } from "./apps.ts";

process.env["PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS"] = "50"; // no router but the registry has to notice

describe("07-registry", () => {
  it("reads notes by name over fetch and gRPC, and fails nothing while one of two instances stops", async () => {
    const port = await freePort();
    const [first, second, reader] = [createNotes("first"), createNotes("second"), createReader(port)];
    const read = async (): Promise<string> => {
      const reply = await fetch(`http://127.0.0.1:${port}/`);
      const text = await reply.text();
      assert.equal(reply.status, 200, text);
      assert.match(text, /"health":"serving"/);
      return /"from":"(\w+)"/.exec(text)?.[1] ?? text;
    };
    for (const app of [first, second, reader]) await app.start();
    try {
      for (let at = 0; at < 5; at++) assert.match(await read(), /^(first|second)$/);
      const stopped = first.stop();
      for (let at = 0; at < 10 || first.state !== "stopped"; at++) assert.match(await read(), /^(first|second)$/);
      await stopped;
      for (let at = 0; at < 5; at++) assert.equal(await read(), "second");
    } finally {
      for (const app of [reader, second, first]) await app.stop();
    }
  });
});
