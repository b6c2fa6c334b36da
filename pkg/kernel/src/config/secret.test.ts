import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { format, inspect } from "node:util";
import { serialize } from "node:v8";
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
    // oxlint-disable-next-line typescript/no-misused-spread -- what is tested
    "a spread": () => inspect({ ...secret }, { showHidden: true }),
    "its values": () => inspect([Object.values(secret), Object.getOwnPropertyDescriptors(secret)]),
    "inspect without custom forms": () => inspect(secret, { customInspect: false, showHidden: true, getters: true }),
    "inspect through a proxy": () => inspect(new Proxy(secret, {}), { showProxy: true }),
    "what inherits from it": () => inspect(Object.create(secret)),
    structuredClone: () => inspect(structuredClone(secret)),
    "v8.serialize": () => serialize(secret).toString("latin1"),
    "an error's cause": () => inspect(new Error("no", { cause: secret }), { showHidden: true }),
    "an error's fields": () => inspect(Object.assign(new AggregateError([secret], "no"), { secret })),
    "a map and a set": () => inspect([new Map([[secret, secret]]), new Set([secret])]),
    "a failed assertion": () => {
      try {
        assert.deepEqual({ secret }, { secret: 1 });
      } catch (error) {
        return inspect(error, { depth: 9, showHidden: true });
      }
      return assert.fail("they are not equal");
    },
    // oxlint-disable-next-line typescript/restrict-template-expressions -- what is tested
    "an error message": () => new Error(`cannot use ${secret}`).message,
  };
  for (const [name, show] of Object.entries(ways)) {
    it(`is not printed by ${name}`, () => assert.doesNotMatch(show(), /hunter2/));
  }

  it("cannot be made to print something else", () => {
    assert.throws(() => Object.assign(secret, { toString: () => secret.reveal() }), TypeError);
    assert.throws(() => Reflect.apply(secret.reveal, {}, []), TypeError);
  });

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
