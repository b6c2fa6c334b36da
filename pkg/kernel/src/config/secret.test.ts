import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { format, inspect } from "node:util";
import { z } from "zod";
import { Secret, secretString } from "./secret.ts";

const text = "hunter2";

describe("Secret", () => {
  const secret = new Secret(text);
  const ways: Readonly<Record<string, () => string>> = {
    String: () => String(secret),
    // oxlint-disable-next-line typescript/restrict-template-expressions -- what is tested
    "a template": () => `${secret}`,
    joining: () => [secret, secret].join(),
    "JSON.stringify": () => JSON.stringify({ secret, list: [secret] }),
    inspect: () => inspect({ secret, deep: { list: [secret] } }, { depth: 9, showHidden: true }),
    "console formatting": () => format("%s %o %O %j", secret, secret, secret, { secret }),
    "its keys": () => JSON.stringify([Object.entries(secret), Reflect.ownKeys(secret).map(String)]),
    "a copy of its fields": () => JSON.stringify(Object.assign({}, secret)),
    // oxlint-disable-next-line typescript/restrict-template-expressions -- what is tested
    "an error message": () => new Error(`cannot use ${secret}`).message,
  };
  for (const [name, show] of Object.entries(ways)) {
    it(`is not printed by ${name}`, () => assert.doesNotMatch(show(), /hunter2/));
  }

  it("gives its value to who asks for it", () => assert.equal(secret.reveal(), text));
});

describe("secretString", () => {
  const schema = z.strictObject({ key: secretString("a key") });

  it("makes a Secret of text", () => {
    const { key } = schema.parse({ key: text });
    assert.ok(key instanceof Secret);
    assert.equal(key.reveal(), text);
  });

  it("refuses an empty one and what is no text", () => {
    assert.equal(schema.safeParse({ key: "" }).success, false);
    assert.equal(schema.safeParse({ key: 5 }).success, false);
  });

  it("says in its JSON Schema that it is only written", () => {
    assert.deepEqual(z.toJSONSchema(schema, { io: "input" }).properties?.key, {
      type: "string",
      minLength: 1,
      description: "a key",
      writeOnly: true,
    });
  });
});
