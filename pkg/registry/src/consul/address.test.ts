import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { RegistryError } from "../errors.ts";
import { type ConsulAddress, parseConsulAddress } from "./address.ts";

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
    ["unix:///run/consul.sock", "http://localhost"],
  ] as const) {
    it(`reads ${text} as ${origin}`, () => assert.equal(parseConsulAddress(text).origin, origin));
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
    "unix:",
    "unix://",
    "unix:///",
    "unix://run/consul.sock",
    `unix:///${"x".repeat(108)}`,
    "unix:///a\0b",
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(() => parseConsulAddress(text), { code: "ERR_REGISTRY_ADDRESS", message: /^consul address / });
    });
  }

  it("says each address so that it is read as the same again, or refuses it as none", () => {
    const host = fc.constantFrom("consul", "10.0.0.1", "[::1]", "localhost", "a.b", "", "x y", "é");
    const port = fc.constantFrom("", ":80", ":443", ":8500", ":0", ":99999", ":x");
    const scheme = fc.constantFrom("", "http://", "https://", "HTTP://", "unix://", "ftp://");
    const made = fc.tuple(scheme, host, port).map((parts) => parts.join(""));
    fc.assert(
      fc.property(fc.oneof(made, fc.string()), fc.boolean(), (text, tls) => {
        let read: ConsulAddress;
        try {
          read = parseConsulAddress(text, { tls });
        } catch (error) {
          assert.ok(error instanceof RegistryError && error.code === "ERR_REGISTRY_ADDRESS", String(error));
          return;
        }
        assert.deepEqual(parseConsulAddress(read.text), read);
      }),
      { seed: 7, numRuns: 1_000 },
    );
  });

  it("takes the path of a socket as it is written", () => {
    assert.deepEqual(parseConsulAddress("unix:///run/my%20consul.sock"), {
      origin: "http://localhost",
      socketPath: "/run/my%20consul.sock",
      text: "unix:///run/my%20consul.sock",
    });
  });

  for (const [text, origin] of [
    ["consul", "https://consul:8500"],
    ["http://consul:8501", "https://consul:8501"],
    ["http://consul:80", "https://consul:80"],
    ["https://consul", "https://consul"],
    ["[::1]:8501", "https://[::1]:8501"],
  ] as const) {
    it(`reads ${text} as ${origin} where TLS is asked for`, () => {
      assert.equal(parseConsulAddress(text, { tls: true }).origin, origin);
    });
  }

  it("speaks no TLS on a socket", () => {
    const read = () => parseConsulAddress("unix:///run/consul.sock", { tls: true, name: "CONSUL_HTTP_ADDR" });
    assert.throws(read, { code: "ERR_REGISTRY_ADDRESS", message: /^CONSUL_HTTP_ADDR .*TLS is not spoken/ });
  });

  it("does not repeat a password", () => {
    assert.throws(
      () => parseConsulAddress("http://user:s3cret@consul:8500"),
      (error: Error) => !error.message.includes("s3cret"),
    );
  });
});
