import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { systemClock } from "@plinth/kernel";
import { Revocations } from "@plinth/transport/jwt";
import { z } from "zod";
import { checkGatewayDocument } from "../check.ts";
import { explainRequest } from "../explain/explain.ts";
import { opsRoutesOf } from "../explain/ops.ts";
import { definePlugin } from "./define.ts";

const folder = mkdtempSync(join(tmpdir(), "plinth-plugins-"));
after(() => rmSync(folder, { recursive: true }));

/** A schema that is not zod's. */
const handwritten = {
  "~standard": {
    version: 1,
    vendor: "test",
    validate: (value: unknown) =>
      typeof value === "object" && value !== null && "n" in value && typeof value.n === "number"
        ? { value: { n: value.n } }
        : { issues: [{ message: "expected a number", path: [{ key: "n" }] }] },
  },
} as const;

const first = definePlugin({
  name: "first",
  stage: "edge",
  order: 3,
  config: z.strictObject({ secret: z.string() }),
  create: () => ({}),
});
const second = definePlugin({
  name: "second",
  stage: "auth",
  order: 1,
  config: handwritten,
  create: () => ({}),
});
const third = definePlugin({ name: "third", stage: "forward", order: 0, create: () => ({}) });
const plugins = [first, second, third];

function documentOf(text: string): string {
  const file = join(folder, "gateway.yaml");
  writeFileSync(file, text);
  return file;
}

describe("a document with plugins", () => {
  it("has each fault with its line, whatever schema says so", () => {
    const file = documentOf(`plugins:
  first:
    secrets: x
  thirt: true
routes:
  - name: a
    match: { path: /a }
    service: a
    anonymous: true
    plugins:
      second: { n: x }
      third: { any: 1 }
`);
    const { faults } = checkGatewayDocument(file, { plugins });
    assert.deepEqual(
      faults.map(({ source, key, problem }) => `${source.replace(`${folder}/`, "")} ${key}: ${problem}`),
      [
        "gateway.yaml:2 plugins.first.secret: expected string, got nothing",
        'gateway.yaml:3 plugins.first.secrets: unknown key; did you mean "secret"?',
        'gateway.yaml:4 plugins.thirt: unknown plugin; did you mean "third"?',
        "gateway.yaml:11 routes.0.plugins.second.n: expected a number",
        "gateway.yaml:12 routes.0.plugins.third.any: unknown key",
      ],
    );
  });

  const good = `plugins: { first: { secret: hush }, third: true }
routes:
  - { name: a, match: { path: /a }, service: a, anonymous: true, plugins: { second: { n: 1 } } }
  - { name: b, match: { path: /b }, service: b, anonymous: true, plugins: { third: false } }
`;

  it("is warned of, once for each, by a program that does not know them", () => {
    const { faults, warnings } = checkGatewayDocument(documentOf(good));
    assert.deepEqual(faults, []);
    const about = warnings.filter(({ problem }) => problem.startsWith("not checked: "));
    assert.deepEqual(
      about.map(({ source, key }) => `${source.replace(`${folder}/`, "")} ${key}`),
      ["gateway.yaml:1 plugins.first", "gateway.yaml:1 plugins.third", "gateway.yaml:3 routes.0.plugins.second"],
    );
    assert.deepEqual(checkGatewayDocument(documentOf(good), { plugins }).warnings, []);
  });

  it("is explained by their order where that is known, and shown to operators without what they hold", () => {
    const { document } = checkGatewayDocument(documentOf(good), { plugins });
    assert.ok(document);
    const placesOf = (url: string, known?: typeof plugins) =>
      explainRequest(document, { method: "GET", url, nowMs: 0, plugins: known }).route?.plugins;
    assert.deepEqual(placesOf("/a", plugins), [
      { name: "first", stage: "edge", order: 3 },
      { name: "second", stage: "auth", order: 1 },
      { name: "third", stage: "forward", order: 0 },
    ]);
    assert.deepEqual(placesOf("/b"), [{ name: "first" }]);
    const state = { document, plugins, services: [], workers: undefined };
    const routes = opsRoutesOf({ describe: () => state, revocations: new Revocations({ clock: systemClock }) });
    const shown = JSON.stringify(routes.find(({ path }) => path === "/routes")?.answer(new URLSearchParams()));
    assert.match(shown, /"plugins":\[\{"name":"first","stage":"edge","order":3\}/);
    assert.doesNotMatch(shown, /hush/);
  });
});
