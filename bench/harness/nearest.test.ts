import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { nearestNames } from "./nearest.ts";

const names = ["bare-forwarding", "http-service", "http-client"];

describe("nearestNames", () => {
  it("finds a mistyped name", () => assert.deepEqual(nearestNames("bear-forwardng", names), ["bare-forwarding"]));
  it("finds all that contain a shortened one", () => {
    assert.deepEqual(nearestNames("http", names), ["http-service", "http-client"]);
  });
  it("finds none for a stranger", () => assert.deepEqual(nearestNames("database", names), []));
  it("finds none for nothing", () => assert.deepEqual(nearestNames("", names), []));
});
