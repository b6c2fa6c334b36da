import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { currentContext, runInContext, runOutsideContext } from "./context.ts";

describe("the request context", () => {
  it("is there for all that a request starts, also later, and for nothing else", async () => {
    const seen: unknown[] = [];
    const look = (): void => void seen.push(currentContext()?.requestId);
    const [first, second] = ["r1", "r2"].map((requestId) =>
      runInContext({ requestId }, async () => {
        look();
        await new Promise(setImmediate);
        look();
      }),
    );
    look();
    await Promise.all([first, second]);
    look();
    assert.deepEqual(seen, ["r1", "r2", undefined, "r1", "r2", undefined]);
  });

  it("returns what the work returns, and lets its error through", () => {
    assert.equal(
      runInContext({}, () => 5),
      5,
    );
    assert.throws(
      () =>
        runInContext({}, () => {
          throw new Error("x");
        }),
      { message: "x" },
    );
  });

  it("can be left for work that belongs to no request", async () => {
    await runInContext({ requestId: "r1" }, async () => {
      await runOutsideContext(async () => {
        await new Promise(setImmediate);
        assert.equal(currentContext(), undefined);
      });
      assert.equal(currentContext()?.requestId, "r1");
    });
  });
});
