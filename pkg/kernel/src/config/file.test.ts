import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { ConfigError } from "./errors.ts";
import { parseConfig, readConfigFile } from "./file.ts";

let folder = "";
before(() => {
  folder = mkdtempSync(join(tmpdir(), "plinth-config-"));
});
after(() => rmSync(folder, { recursive: true }));

function fileOf(content: string | Buffer, name = "config.yaml"): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** The faults of what must be refused. */
function faultsOf(run: () => unknown): readonly string[] {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    assert.equal(error.code, "ERR_CONFIG_FILE");
    return error.faults.map(({ key, problem, source }) => `${key}: ${problem} (${source})`);
  }
  return assert.fail("it was taken");
}

describe("parseConfig", () => {
  it("reads YAML with its types, and knows the line of each value", () => {
    const { data, places } = parseConfig(
      'http:\n  port: 8080\n  host: "127.0.0.1"\n  tls: false\nlist:\n  - a\n',
      "c.yaml",
    );
    assert.deepEqual(structuredClone(data), { http: { port: 8080, host: "127.0.0.1", tls: false }, list: ["a"] });
    assert.equal(places.get("http.port"), "c.yaml:2");
    assert.equal(places.get("http.tls"), "c.yaml:4");
    assert.equal(places.get("list.0"), "c.yaml:6");
  });

  it("reads JSON", () => {
    const { data } = parseConfig('{"http": {"port": 8080, "hosts": ["a", null]}}', "c.json");
    assert.deepEqual(structuredClone(data), { http: { port: 8080, hosts: ["a", null] } });
  });

  for (const [name, text] of Object.entries({ nothing: "", "a comment": "# later\n", "a separator": "---\n" })) {
    it(`takes a file with ${name} for an empty one`, () => {
      assert.deepEqual(Object.keys(parseConfig(text, "c.yaml").data), []);
    });
  }

  it("drops a byte order mark", () => assert.equal(parseConfig("\uFEFFa: 1", "c.yaml").data.a, 1));

  it("leaves yes, no and dates as text, as YAML 1.2 does", () => {
    const { data } = parseConfig("a: yes\nb: no\nc: 2026-01-01\nd: 'false'\n", "c.yaml");
    assert.deepEqual(structuredClone(data), { a: "yes", b: "no", c: "2026-01-01", d: "false" });
  });

  const refused: readonly (readonly [string, string, readonly string[]])[] = [
    ["a list", "- a\n", ["c.yaml: the file must hold a mapping of sections (c.yaml:1)"]],
    ["a text", "hello\n", ["c.yaml: the file must hold a mapping of sections (c.yaml:1)"]],
    ["a key that stands twice", "a: 1\nb: 2\na: 3\n", ["a: this key stands twice, first at c.yaml:1 (c.yaml:3)"]],
    [
      "a deep key that stands twice",
      "a:\n  b: 1\n  'b': 2\n",
      ["a.b: this key stands twice, first at c.yaml:2 (c.yaml:3)"],
    ],
    [
      "a key that stands twice as number and text",
      "1: a\n'1': b\n",
      ["1: this key stands twice, first at c.yaml:1 (c.yaml:2)"],
    ],
    ["an alias", "a: &x [1]\nb: *x\n", ["b: aliases and anchors are not followed; write the value out (c.yaml:2)"]],
    ["a second document", "a: 1\n---\nb: 2\n", ["c.yaml: a second document begins here; one is read (c.yaml:2)"]],
    ["an unknown tag", "a: !!js/function 'x'\n", ["c.yaml: Unresolved tag: tag:yaml.org,2002:js/function (c.yaml:1)"]],
    ["binary data", "a: !!binary aGk=\n", ["a: this type has no plain value (c.yaml:1)"]],
    ["a key that is a list", "? [a]\n: 1\n", ["c.yaml: a key must be plain text (c.yaml:1)"]],
    [
      "hostile keys, all of them",
      "__proto__: {admin: true}\na:\n  constructor: {prototype: {admin: true}}\n  prototype: 1\n",
      [
        "__proto__: this key is never allowed (c.yaml:1)",
        "a.constructor: this key is never allowed (c.yaml:3)",
        "a.prototype: this key is never allowed (c.yaml:4)",
      ],
    ],
  ];
  for (const [name, text, expected] of refused) {
    it(`refuses ${name} with its line`, () => {
      assert.deepEqual(
        faultsOf(() => parseConfig(text, "c.yaml")),
        expected,
      );
      assert.equal(Reflect.get({}, "admin"), undefined);
    });
  }

  it("tells every fault of syntax with its line, and repeats no text of the file", () => {
    const faults = faultsOf(() => parseConfig('password: "hunter2" oops\nb: @x\n', "c.yaml"));
    assert.match(faults.join("\n"), /c\.yaml:1/);
    assert.match(faults.join("\n"), /c\.yaml:2/);
    assert.doesNotMatch(faults.join("\n"), /hunter2/);
  });

  it("refuses a bomb of aliases at once instead of unfolding it", () => {
    const levels = Array.from({ length: 30 }, (_, level) => `l${level + 1}: &l${level + 1} [*l${level}, *l${level}]`);
    const startedAt = performance.now();
    const faults = faultsOf(() => parseConfig(["l0: &l0 x", ...levels].join("\n"), "c.yaml"));
    assert.equal(faults.length, 60);
    assert.ok(performance.now() - startedAt < 1_000);
  });

  for (const [name, text] of Object.entries({
    lists: `a: ${"[".repeat(50_000)}${"]".repeat(50_000)}`,
    "unclosed lists": "[".repeat(50_000),
    mappings: `a: ${"{a: ".repeat(5_000)}1${"}".repeat(5_000)}`,
    "a hundred lists": `a: ${"[".repeat(100)}${"]".repeat(100)}`,
  })) {
    it(`refuses ${name} nested too deep`, () => {
      const faults = faultsOf(() => parseConfig(text, "c.yaml"));
      assert.match(faults[0] ?? "", /nested (too deep to be read|deeper than 64 levels)/);
      assert.ok(faults.length <= 20);
    });
  }

  it("reads thirty thousand keys in time that grows no faster than they do", () => {
    const text = Array.from({ length: 30_000 }, (_, index) => `key${index}: ${index}`).join("\n");
    const startedAt = performance.now();
    assert.equal(Object.keys(parseConfig(text, "c.yaml").data).length, 30_000);
    assert.ok(performance.now() - startedAt < 5_000, `took ${performance.now() - startedAt} ms`);
  });
});

describe("readConfigFile", () => {
  it("names the whole path as the place of a value", () => {
    const path = fileOf("a: 1\n");
    assert.equal(readConfigFile(path).places.get("a"), `${path}:1`);
  });

  it("refuses a file that is not there, and says what could not be read", () => {
    const path = join(folder, "absent.yaml");
    const reason = `cannot be read: ENOENT: no such file or directory, open '${path}'`;
    assert.deepEqual(
      faultsOf(() => readConfigFile(path)),
      [`${path}: ${reason} (config file)`],
    );
    assert.deepEqual(
      faultsOf(() => readConfigFile(path, { namedBy: "NOTES_FILE" })),
      [`${path}: ${reason} (NOTES_FILE)`],
    );
  });

  it("names by its absolute path what was named by a relative one and cannot be read", () => {
    const relative = `absent-${process.pid}.yaml`;
    assert.match(
      faultsOf(() => readConfigFile(relative)).join(),
      new RegExp(`^${join(process.cwd(), relative)}: cannot`),
    );
  });

  it("has no cause that says again why a file cannot be read", () => {
    assert.throws(
      () => readConfigFile(join(folder, "absent.yaml")),
      (error: unknown) => error instanceof ConfigError && error.cause === undefined,
    );
  });

  it("refuses a folder", () => {
    assert.match(faultsOf(() => readConfigFile(folder)).join(), /cannot be read: it is no regular file/);
  });

  it("refuses a device that never ends", () => {
    assert.match(faultsOf(() => readConfigFile("/dev/zero")).join(), /cannot be read: it is no regular file/);
  });

  it("refuses a file of 2 MB without reading it", () => {
    const path = fileOf(`a: ${"x".repeat(2_000_000)}`, "large.yaml");
    assert.match(faultsOf(() => readConfigFile(path)).join(), /it has 2000003 bytes, at most 1048576 are read/);
  });

  it("reads UTF-8 with a byte order mark, and refuses what is not UTF-8", () => {
    assert.equal(readConfigFile(fileOf("\uFEFFa: ü\n", "bom.yaml")).data.a, "ü");
    const utf16 = fileOf(Buffer.from("\uFEFFa: 1\n", "utf16le"), "utf16.yaml");
    assert.match(faultsOf(() => readConfigFile(utf16)).join(), /cannot be read: .*utf-8/);
  });
});
