import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { authorityOf, isUnspecified, sameInstance, toInstance } from "./instance.ts";
import type { Instance } from "./registry.ts";

const given = { service: "notes", id: "notes-1", host: "127.0.0.1", ports: { http: 3_000 } };

describe("toInstance", () => {
  it("freezes what it makes, and leaves what it was given alone", () => {
    const metadata = { b: "2", a: "1" };
    const instance = toInstance({ ...given, metadata });
    assert.deepEqual(Object.keys(instance.metadata), ["a", "b"]);
    assert.deepEqual(Object.keys(metadata), ["b", "a"]);
    for (const value of [instance, instance.ports, instance.tags, instance.metadata]) assert.ok(Object.isFrozen(value));
  });

  for (const host of ["notes.example", "notes_1", "10.0.0.1", "fd00::1", "a.b.", "localhost"]) {
    it(`takes the host ${host}`, () => assert.equal(toInstance({ ...given, host }).host, host));
  }

  for (const host of ["", " ", "a b", "-a", "a..b", "::", "a:80", "a/b", "user@a", "x".repeat(254)]) {
    it(`refuses the host ${JSON.stringify(host)}`, () => {
      assert.throws(() => toInstance({ ...given, host }), { code: "ERR_REGISTRY_INSTANCE", message: /^host / });
    });
  }
});

describe("sameInstance", () => {
  it("compares by content", () => {
    const one = toInstance({ ...given, metadata: { a: "1", b: "2" } });
    const same = toInstance({
      metadata: { b: "2", a: "1" },
      ports: { http: 3_000 },
      host: "127.0.0.1",
      id: "notes-1",
      service: "notes",
    });
    const other = toInstance({ ...given, metadata: { a: "1", b: "3" } });
    assert.equal(sameInstance(one, same), true);
    assert.equal(sameInstance(one, other), false);
  });
});

describe("sameInstance", () => {
  const whole = {
    ...given,
    ports: { http: 1, grpc: 2 },
    version: "1",
    zone: "z",
    weight: 2,
    identity: "i",
    tags: ["a", "b"],
  };
  const one = toInstance({ ...whole, metadata: { a: "1" } });
  const changes: readonly Partial<Instance>[] = [
    { service: "other" },
    { id: "other" },
    { host: "other" },
    { ports: { http: 1 } },
    { ports: { grpc: 2 } },
    { ports: { http: 1, grpc: 3 } },
    { version: "2" },
    { zone: "y" },
    { weight: 3 },
    { identity: "j" },
    { tags: ["a"] },
    { tags: ["b", "a"] },
    { metadata: {} },
    { metadata: { a: "2" } },
    { metadata: { b: "1" } },
    { metadata: { a: "1", b: "1" } },
    { status: "warning" },
  ];
  for (const change of changes) {
    it(`tells ${JSON.stringify(change)} apart`, () => {
      assert.equal(sameInstance(one, { ...one }), true);
      assert.equal(sameInstance(one, { ...one, ...change }), false);
      assert.equal(sameInstance({ ...one, ...change }, one), false);
    });
  }
});

describe("authorityOf", () => {
  it("is host and port, an IPv6 address in brackets", () => {
    assert.equal(authorityOf(toInstance(given), "http"), "127.0.0.1:3000");
    assert.equal(authorityOf(toInstance({ ...given, host: "fd00::1" }), "http"), "[fd00::1]:3000");
    assert.equal(authorityOf(toInstance(given), "grpc"), undefined);
  });
});

describe("isUnspecified", () => {
  for (const host of ["0.0.0.0", "::", "0:0:0:0:0:0:0:0"])
    it(`is true for ${host}`, () => assert.equal(isUnspecified(host), true));
  for (const host of ["127.0.0.1", "::1", "a"])
    it(`is false for ${host}`, () => assert.equal(isUnspecified(host), false));
});
