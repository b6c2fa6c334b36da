import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseTracestate } from "./tracestate.ts";

const members = (count: number): string => Array.from({ length: count }, (_, index) => `k${index}=v`).join(",");
const large = (name: string): string => `${name}=${"x".repeat(200)}`;

describe("parseTracestate", () => {
  const kept: Readonly<Record<string, readonly [header: string, expected: string]>> = {
    "one member": ["rojo=00f067aa0ba902b7", "rojo=00f067aa0ba902b7"],
    "several, in their order": ["rojo=1,congo=t61rcWkgMzE", "rojo=1,congo=t61rcWkgMzE"],
    "spaces and tabs around members": ["a=1 ,\t b=2\t", "a=1,b=2"],
    "spaces within a value": ["a=1 2,b=3", "a=1 2,b=3"],
    "empty members": ["a=1,,  ,b=2,", "a=1,b=2"],
    "a tenant's key": ["0tenant-1*/_@sys=1", "0tenant-1*/_@sys=1"],
    "the first of two with one key": ["a=new,b=1,a=old", "a=new,b=1"],
    "32 members": [members(32), members(32)],
    "a key of 256 characters": [`${"k".repeat(256)}=1`, `${"k".repeat(256)}=1`],
    "a value of 256 characters": [`a=${"v".repeat(256)}`, `a=${"v".repeat(256)}`],
    "of more than 512 characters, those without members above 128": [
      `a=1,${large("b")},c=3,${large("d")},${large("e")},f=6`,
      `a=1,${large("b")},c=3,${large("d")},f=6`,
    ],
    "of more than 512 characters in small members, the first": [
      Array.from({ length: 8 }, (_, index) => `k${index}=${"v".repeat(97)}`).join(","),
      Array.from({ length: 5 }, (_, index) => `k${index}=${"v".repeat(97)}`).join(","),
    ],
  };
  for (const [name, [header, expected]] of Object.entries(kept)) {
    it(`keeps ${name}`, () => assert.equal(parseTracestate(header), expected));
  }

  const dropped: Readonly<Record<string, string | undefined>> = {
    "that is absent": undefined,
    "that is empty": "",
    "of blanks and commas": " ,,\t, ",
    "with 33 members": members(33),
    "with 33 members, of which one comes twice": `${members(32)},k0=v`.replace("k0=v,", "k0=v,k99=v,"),
    "of more than 8192 characters": `a=${"v".repeat(9_000)}`,
    "without a value": "a=",
    "without =": "a=1,foo",
    "without a key": "=1",
    "with a key in capitals": "Foo=1",
    "with a space before =": "foo =1",
    "with a key that begins with @": "@foo=1",
    "with a key that ends with @": "foo@=1",
    "with two @": "foo@bar@baz=1",
    "with a system's name of 15 characters": `t@${"s".repeat(15)}=1`,
    "with a key of 257 characters": `${"k".repeat(257)}=1`,
    "with a value of 257 characters": `a=${"v".repeat(257)}`,
    "with = in a value": "foo=bar=baz",
    "with a control character in a value": "foo=b\u0001r",
    "with a character beyond ASCII": "foo=bär",
    "with a line break": "foo=1\r\nx: y",
  };
  for (const [name, header] of Object.entries(dropped)) {
    it(`drops one ${name}`, () => assert.equal(parseTracestate(header), undefined));
  }
});
