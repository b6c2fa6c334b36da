import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { quoteIdentifier, requireSchemaName, schemaNameFor } from "./schema-name.ts";

describe("schemaNameFor", () => {
  for (const [app, schema] of [
    ["notes", "notes"],
    ["order-items", "order_items"],
    ["3d-render", "_3d_render"],
  ] as const) {
    it(`calls the schema of ${app} ${schema}`, () => assert.equal(schemaNameFor(app), schema));
  }

  for (const app of ["pg-proxy", "information-schema", "Notes", "a".repeat(64), "", 'x"; drop schema public; --']) {
    it(`refuses ${JSON.stringify(app.slice(0, 30))}`, () => {
      assert.throws(() => schemaNameFor(app), { code: "ERR_OPTION_RANGE", message: /^schema must be/ });
    });
  }
});

describe("requireSchemaName", () => {
  for (const name of ["public", "_a", "a1", "a".repeat(63)]) {
    it(`takes ${name.slice(0, 10)}`, () => assert.doesNotThrow(() => requireSchemaName(name)));
  }
  for (const name of ["a-b", "a b", 'a"b', "a;b", "1a", "pg_temp", "pg_catalog", "größe", "a\0b", "a,public"]) {
    it(`refuses ${JSON.stringify(name)}`, () => {
      assert.throws(() => requireSchemaName(name), { code: "ERR_OPTION_RANGE" });
    });
  }
});

describe("quoteIdentifier", () => {
  it("doubles quotes", () => assert.equal(quoteIdentifier('a"b'), '"a""b"'));
});
