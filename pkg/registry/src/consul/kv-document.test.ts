import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type ConfigDocument, ConfigError, type ConfigFault } from "@plinth/kernel";
import type { KvEntry } from "./kv.ts";
import { toDocument, toFolderDocument } from "./kv-document.ts";

const entryOf = (key: string, value: string | Uint8Array): KvEntry => ({
  key,
  value: Buffer.from(value),
  modifyIndex: 1,
});
const folder = (keys: Readonly<Record<string, string | Uint8Array>>): ConfigDocument =>
  toFolderDocument(
    "config/notes/",
    Object.entries(keys).map(([key, value]) => entryOf(`config/notes/${key}`, value)),
  );
const plain = ({ data }: ConfigDocument): unknown => JSON.parse(JSON.stringify(data));

function faultsOf(work: () => unknown): readonly ConfigFault[] {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof ConfigError && error.code === "ERR_CONFIG_FILE", String(error));
    return error.faults;
  }
  assert.fail("it was taken");
}

describe("a document in one key", () => {
  it("is YAML or JSON, each value placed by its line", () => {
    const yaml = toDocument(entryOf("config/notes", "# ours\nhttp:\n  port: 8080\n"));
    assert.deepEqual(plain(yaml), { http: { port: 8_080 } });
    assert.equal(yaml.places.get("http.port"), "consul:config/notes:3");
    const json = toDocument(entryOf("config/notes", '{\n"http": {"port": 8080}}'));
    assert.deepEqual(plain(json), { http: { port: 8_080 } });
    assert.equal(json.places.get("http.port"), "consul:config/notes:2");
  });

  it("may be empty, and may begin with a byte order mark", () => {
    assert.deepEqual(plain(toDocument(entryOf("a", ""))), {});
    assert.deepEqual(plain(toDocument(entryOf("a", "\uFEFFb: 1"))), { b: 1 });
  });

  it("is refused with its place when it is no config", () => {
    const [first] = faultsOf(() => toDocument(entryOf("config/notes", "a: 1\n__proto__: {b: 1}")));
    assert.deepEqual([first?.key, first?.source], ["__proto__", "consul:config/notes:2"]);
    const [bytes] = faultsOf(() => toDocument(entryOf("config/notes", Uint8Array.of(97, 58, 32, 0xff))));
    assert.deepEqual(bytes, {
      key: "consul:config/notes",
      problem: "the value is not UTF-8",
      source: "consul:config/notes",
    });
    for (const text of ["8080", "- 1", "a: [", "a: 1\na: 2", "a: *b"]) {
      const [fault] = faultsOf(() => toDocument(entryOf("config/notes", text)));
      assert.match(fault?.source ?? "", /^consul:config\/notes:\d$/, text);
    }
  });
});

describe("a folder of values", () => {
  it("is a document in which each key is a path, placed by its key", () => {
    const document = folder({ "http/port": "8080", "http/host": "example.org", "log/level": '"debug"\n' });
    assert.deepEqual(plain(document), { http: { port: 8_080, host: "example.org" }, log: { level: "debug" } });
    assert.equal(document.places.get("http.port"), "consul:config/notes/http/port");
    assert.equal(document.places.get("http"), "consul:config/notes/http/");
  });

  const values: readonly (readonly [what: string, text: string, value: unknown])[] = [
    ["a number", "1.5", 1.5],
    ["true", "true", true],
    ["null", "null", null],
    ["text that looks like a number, in quotes", '"8080"', "8080"],
    ["text with a colon inside", "http://a:80", "http://a:80"],
    ["text of several lines", "|\n  a\n   b\n", "a\n b\n"],
    ["text with a line of its own for a comment", "# why\na\n", "a"],
    ["a list in brackets over two lines", "[1,\n2]", [1, 2]],
    ["a list of dashes", "- a\n- b: 1\n  c: 2\n", ["a", { b: 1, c: 2 }]],
    ["a mapping", "a: 1\nb:\n  c: 2", { a: 1, b: { c: 2 } }],
    ["JSON with line ends of DOS", '{"a":\r\n [1, "x"]}\r\n', { a: [1, "x"] }],
    ["a byte order mark before it", "\uFEFF5", 5],
    ["a rare line end inside", '"a\u2028b"', "a\u2028b"],
  ];
  for (const [what, text, value] of values) {
    it(`takes ${what}`, () => {
      assert.deepEqual(plain(folder({ a: text })), { a: value });
    });
  }

  it("places what stands inside a value by its line", () => {
    const { places } = folder({ "http/tls": "cert: x\nkey:\n  - y" });
    assert.deepEqual(
      ["http.tls", "http.tls.cert", "http.tls.key", "http.tls.key.0"].map((path) => places.get(path)),
      ["", "", ":2", ":3"].map((line) => `consul:config/notes/http/tls${line}`),
    );
  });

  it("leaves out folder marks and keys without a value", () => {
    assert.deepEqual(plain(folder({})), {});
    assert.deepEqual(plain(folder({ "": "", "http/": "", "http/port": "", "log/": "marked", "log/level": "info" })), {
      log: { level: "info" },
    });
    assert.deepEqual(plain(folder({ http: "", "http/port": "1" })), { http: { port: 1 } });
  });

  it("refuses a key that is both a value and a folder, naming both", () => {
    assert.deepEqual(
      faultsOf(() => folder({ http: "1", "http/port": "2", "http/tls/cert": "x" })),
      [
        {
          key: "http.port",
          problem:
            "config/notes/http holds a value, so config/notes/http/port cannot stand below it; delete one of the two",
          source: "consul:config/notes/http/port",
        },
        {
          key: "http.tls.cert",
          problem:
            "config/notes/http holds a value, so config/notes/http/tls/cert cannot stand below it; delete one of the two",
          source: "consul:config/notes/http/tls/cert",
        },
      ],
    );
    assert.equal(faultsOf(() => folder({ "http/port": "2", http: "{}" })).length, 1);
  });

  it("refuses parts that would reach into what every object inherits", () => {
    for (const part of ["__proto__", "constructor", "prototype"]) {
      for (const key of [part, `${part}/x`, `http/${part}`, `http/${part}/x`]) {
        const [fault] = faultsOf(() => folder({ [key]: "{x: 1}", "log/level": "info" }));
        assert.deepEqual(
          [fault?.problem, fault?.source],
          [`the part ${part} is never allowed`, `consul:config/notes/${key}`],
        );
      }
    }
    assert.equal(faultsOf(() => folder({ http: "__proto__: {x: 1}" }))[0]?.key, "http.__proto__");
    assert.equal(Reflect.get({}, "x"), undefined);
  });

  it("refuses empty parts and keys that are too deep", () => {
    for (const key of ["/port", "http//port"]) {
      assert.equal(faultsOf(() => folder({ [key]: "1" }))[0]?.problem, "a part of the key is empty");
    }
    const [deep] = faultsOf(() => folder({ [`${"a/".repeat(64)}b`]: "1" }));
    assert.equal(deep?.problem, "nested deeper than 64 levels");
    assert.equal(folder({ [`${"a/".repeat(63)}b`]: "1" }).places.size, 64);
  });

  it("tells every fault of every key at once, each with its place", () => {
    const faults = faultsOf(() =>
      folder({
        "a/b": Uint8Array.of(0xc3),
        "c/d": "x: 1\ny: [",
        "e/f": "x: 1\nz: 2\nx: 3",
        "g/h": "---\n5",
        "i/j": "*k",
        "l/m": "fine",
      }),
    );
    assert.deepEqual(
      faults.map(({ key, source }) => [key, source]),
      [
        ["a.b", "consul:config/notes/a/b"],
        ["c.d", "consul:config/notes/c/d:2"],
        ["e.f.x", "consul:config/notes/e/f:3"],
        ["g.h", "consul:config/notes/g/h"],
        ["i.j", "consul:config/notes/i/j"],
      ],
    );
    assert.match(faults[2]?.problem ?? "", /first at consul:config\/notes\/e\/f$/);
    assert.match(faults[3]?.problem ?? "", /quotes/);
  });
});
