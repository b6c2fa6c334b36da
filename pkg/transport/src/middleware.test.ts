import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { layers, type Middleware, type MiddlewarePlace, orderOf } from "./middleware.ts";

const named = (name: string, place: MiddlewarePlace = {}): Middleware => ({
  name,
  ...place,
  handle: async (_request, next) => void (await next()),
});

const namesOf = (given: readonly Middleware[]): string[] =>
  orderOf(given).map((each) => (typeof each === "object" ? each.name : each));

describe("the order of middlewares", () => {
  it("is that of the layers where there are none", () => {
    assert.deepEqual(orderOf([]), layers);
  });

  it("ends with those that name no neighbour, as they were given", () => {
    assert.deepEqual(namesOf([named("a"), named("b")]), [...layers, "a", "b"]);
  });

  it("has each right before or after its neighbour, several as they were given", () => {
    const order = namesOf([
      named("after-auth-1", { after: "auth" }),
      named("before-auth-1", { before: "auth" }),
      named("after-auth-2", { after: "auth" }),
      named("before-auth-2", { before: "auth" }),
      named("outermost", { before: "recovery" }),
    ]);
    assert.equal(order[0], "outermost");
    const at = order.indexOf("before-auth-1");
    assert.deepEqual(order.slice(at, at + 5), [
      "before-auth-1",
      "before-auth-2",
      "auth",
      "after-auth-1",
      "after-auth-2",
    ]);
  });

  it("lets one stand beside another, also one that is given later", () => {
    const order = namesOf([named("b", { after: "a" }), named("a", { after: "deadline" }), named("c", { before: "b" })]);
    const at = order.indexOf("deadline");
    assert.deepEqual(order.slice(at, at + 5), ["deadline", "a", "c", "b", "limits"]);
  });

  it("tells every fault at once, with the name and what to do", () => {
    const given = [
      named("auth"),
      named("twice"),
      named("twice"),
      named("lost", { after: "nobody" }),
      // @ts-expect-error -- it stands beside one
      named("both", { before: "auth", after: "trace" }),
      named("hen", { after: "egg" }),
      named("egg", { after: "hen" }),
    ];
    assert.throws(
      () => orderOf(given),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, "ERR_MIDDLEWARE_ORDER");
        for (const part of [
          /the name auth is taken twice/,
          /the name twice is taken twice/,
          /lost stands beside nobody, which nobody is; there are recovery, /,
          /both has both a before and an after/,
          /hen stands beside egg, which stands beside it/,
        ])
          assert.match(error.message, part);
        return true;
      },
    );
  });
});
