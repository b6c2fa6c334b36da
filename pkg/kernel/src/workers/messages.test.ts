import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  enveloped,
  maxSnapshotLength,
  maxToldLength,
  protocol,
  toPrimaryMessage,
  toWorkerMessage,
} from "./messages.ts";

describe("messages between workers and their primary", () => {
  it("are understood on the side they are for, and on no other", () => {
    const stop = enveloped({ type: "stop" });
    const ready = enveloped({ type: "ready" });
    assert.deepEqual([toPrimaryMessage(stop), toWorkerMessage(stop)], [{ type: "stop" }, undefined]);
    assert.deepEqual([toPrimaryMessage(ready), toWorkerMessage(ready)], [undefined, { type: "ready" }]);
  });

  const strangers: Readonly<Record<string, unknown>> = {
    nothing: undefined,
    null: null,
    "a text": "ready",
    "one of the main's own": { type: "ready" },
    "one of another version": { protocol: "plinth.workers/2", type: "ready" },
    "one of an unknown type": { protocol, type: "dance" },
    "one without a field": { protocol, type: "app", app: "notes" },
    "one with a field out of range": { protocol, type: "ended", code: 256, told: "" },
    "a name too long": { protocol, type: "app", app: "x".repeat(201), stopMs: 1 },
    "a text too long": { protocol, type: "ended", code: 1, told: "x".repeat(maxToldLength + 1) },
    "metrics too large": { protocol, type: "snapshot", app: "notes", text: "x".repeat(maxSnapshotLength + 1) },
  };
  for (const [what, message] of Object.entries(strangers)) {
    it(`are not: ${what}`, () => {
      assert.deepEqual([toWorkerMessage(message), toPrimaryMessage(message)], [undefined, undefined]);
    });
  }
});
