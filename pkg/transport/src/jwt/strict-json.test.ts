import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseStrictObject } from "./strict-json.ts";

describe("parseStrictObject", () => {
  for (const text of [
    '{"a":1,"a":1}',
    '{"a":1,"\\u0061":2}',
    '{"x":{"b":1,"b":2}}',
    '{"x":[{"b":1,"b":2}]}',
    '{"a":"}","a":1}',
    '{"a":[1,"a"],"a":1}',
    '{"":1,"":2}',
  ]) {
    it(`refuses ${text}`, () => assert.throws(() => parseStrictObject(text), SyntaxError));
  }
  for (const text of ["[]", "1", "null", '"a"', "", "{", '{"a":}', "{'a':1}"]) {
    it(`refuses ${JSON.stringify(text)}, which is no object`, () =>
      assert.throws(() => parseStrictObject(text), SyntaxError));
  }
  for (const text of [
    "{}",
    '{"a":{"a":1},"b":{"a":1}}',
    '{"a":["a","a"],"b":"a"}',
    '{"a":"\\"a\\":1","b":"\\\\"}',
    ' { "a" : [ { "a" : 1 } , { "a" : 2 } ] } ',
  ]) {
    it(`takes ${text}`, () => assert.deepEqual(parseStrictObject(text), JSON.parse(text)));
  }

  it("gives nothing to the prototype of other objects", () => {
    parseStrictObject('{"__proto__":{"admin":true}}');
    assert.equal(Reflect.get({}, "admin"), undefined);
  });
});
