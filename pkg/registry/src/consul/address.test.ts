import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseConsulAddress } from "./address.ts";

describe("parseConsulAddress", () => {
  for (const [text, origin] of [
    ["127.0.0.1:8500", "http://127.0.0.1:8500"],
    ["consul.internal", "http://consul.internal:8500"],
    ["http://consul:18500", "http://consul:18500"],
    ["http://consul:18500/", "http://consul:18500"],
    ["http://consul", "http://consul:8500"],
    ["http://consul:80", "http://consul"],
    ["HTTPS://consul", "https://consul"],
    ["https://consul:8501", "https://consul:8501"],
    ["[::1]:8500", "http://[::1]:8500"],
    ["[::1]", "http://[::1]:8500"],
    ["localhost:8500", "http://localhost:8500"],
  ] as const) {
    it(`reads ${text} as ${origin}`, () => assert.equal(parseConsulAddress(text), origin));
  }

  for (const text of [
    "",
    "http://",
    "ftp://consul",
    "a b",
    "consul:99999",
    "http://consul/v1",
    "http://consul?x=1",
    "http://a@consul",
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(() => parseConsulAddress(text), { code: "ERR_REGISTRY_ADDRESS", message: /^consul address / });
    });
  }

  it("does not repeat a password", () => {
    assert.throws(
      () => parseConsulAddress("http://user:s3cret@consul:8500"),
      (error: Error) => !error.message.includes("s3cret"),
    );
  });
});
