import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { currentContext, type RequestContext, runInContext, systemClock } from "@plinth/kernel";
import { Subscriptions } from "./subscriptions.ts";

describe("a watch that a request begins", () => {
  it("is no part of that request, which it outlives", () => {
    const begunIn: (RequestContext | undefined)[] = [];
    const subscriptions = new Subscriptions(systemClock, () => {
      begunIn.push(currentContext());
      return () => {};
    });
    runInContext({ requestId: "r-1", signal: AbortSignal.abort() }, () => subscriptions.follow("notes"));
    assert.deepEqual(begunIn, [undefined]);
    subscriptions.close();
  });
});
