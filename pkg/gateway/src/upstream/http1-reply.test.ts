import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { readReply } from "../testing/read-reply.ts";

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");
/** A cut before each byte. */
const everywhere = (text: string): number[] => Array.from({ length: text.length }, (_none, at) => at);
const get = { method: "GET", body: null };
const post = { method: "POST", body: Readable.from([]) };
const webSocket = { method: "GET", body: null, upgrade: "websocket" };
const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const ok = (fields: string, body = ""): string => `HTTP/1.1 200 OK\r\n${fields}\r\n${body}`;

describe("a reply of an instance", () => {
  for (const [what, text, body, isKept, asked] of [
    ["a length", ok("Content-Length: 2\r\n", "hi"), "hi", true, get],
    ["no reason", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi", "hi", true, get],
    ["a length of 0", ok("Content-Length: 0\r\n"), "", true, get],
    ["chunks", `${chunked}2\r\nhi\r\n00\r\n\r\n`, "hi", true, get],
    [
      "chunks in another case",
      ok("transfer-ENCODING: Chunked\r\n", "A\r\n0123456789\r\n0\r\n\r\n"),
      "0123456789",
      true,
      get,
    ],
    ["chunks with extensions", `${chunked}2;a;b=c;d="e;\\"f"\r\nhi\r\n0;x\r\n\r\n`, "hi", true, get],
    ["neither, up to the end of the connection", ok("X: y\r\n", "hi"), "hi", false, get],
    ["HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi", false, get],
    ["Connection: close", ok("Content-Length: 2\r\nConnection: x, Close\r\n", "hi"), "hi", false, get],
    ["the length of what HEAD leaves out", ok("Content-Length: 2\r\n"), "", true, { method: "HEAD", body: null }],
    ["the coding of what HEAD leaves out", chunked, "", true, { method: "HEAD", body: null }],
    ["304 with the length of what it leaves out", "HTTP/1.1 304 -\r\nContent-Length: 9\r\n\r\n", "", true, get],
    ["204", "HTTP/1.1 204 No Content\r\n\r\n", "", true, get],
    [
      "205 with no length, which has an end all the same",
      "HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n",
      "",
      true,
      get,
    ],
    ["204 that announces a body: it might still come", "HTTP/1.1 204 -\r\nContent-Length: 2\r\n\r\n", "", false, get],
    ["204 that announces chunks", "HTTP/1.1 204 -\r\nTransfer-Encoding: chunked\r\n\r\n", "", false, get],
    [
      "hints before it",
      `HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n${ok("Content-Length: 2\r\n", "hi")}`,
      "hi",
      true,
      get,
    ],
    ["100 before it, to a body", `HTTP/1.1 100 Continue\r\n\r\n${ok("Content-Length: 2\r\n", "hi")}`, "hi", true, post],
    ["blanks around a value, and an empty one", ok("A: \t b \t\r\nB:\r\nContent-Length:2 \r\n", "hi"), "hi", true, get],
    ["letters beyond ASCII in a value", ok("A: \x80\xff\r\nContent-Length: 0\r\n"), "", true, get],
  ] as const) {
    it(`is read with ${what}`, () => {
      const read = readReply(bytes(text), asked);
      assert.deepEqual([read.outcome, read.body, read.isKept, read.used], ["whole", body, isKept, text.length]);
    });
  }

  for (const [what, text, asked] of [
    ["a length and chunks", ok("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")],
    ["chunks and a length", ok("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n")],
    ["two lengths", ok("Content-Length: 5\r\nContent-Length: 6\r\n", "hello")],
    ["one length twice", ok("Content-Length: 5\r\nContent-Length: 5\r\n", "hello")],
    ["lengths in a list", ok("Content-Length: 5, 5\r\n", "hello")],
    ["a signed length", ok("Content-Length: +5\r\n", "hello")],
    ["a negative length", ok("Content-Length: -0\r\n")],
    ["a hexadecimal length", ok("Content-Length: 0x5\r\n", "hello")],
    ["an empty length", ok("Content-Length:\r\n")],
    ["a huge length", ok("Content-Length: 99999999999999999999\r\n")],
    ["another coding", ok("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")],
    ["chunked not last", ok("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n")],
    ["chunked twice", ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")],
    ["a coding with a parameter", ok("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n")],
    ["an empty coding", ok("Transfer-Encoding:\r\n")],
    ["a coding in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    ["status 099", "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n"],
    ["status 999", "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"],
    ["a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"],
    ["a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"],
    ["HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"],
    ["HTTP/1.2", "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n"],
    ["no HTTP", "SSH-2.0-OpenSSH_9.2\r\n"],
    ["lower case", "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
    ["an empty line before it", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
    ["a bare line feed behind the status", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"],
    ["line feeds alone", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"],
    ["a bare line feed behind a header", ok("A: b\nContent-Length: 0\r\n")],
    ["a bare carriage return in a value", ok("A: b\rc\r\nContent-Length: 0\r\n")],
    ["a head that ends with \\r\\n\\r", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\rX"],
    ["a null in a value", ok("A: b\0c\r\nContent-Length: 0\r\n")],
    ["a control character in a value", ok("A: b\x1bc\r\nContent-Length: 0\r\n")],
    ["a folded header", ok("A: b\r\n c\r\nContent-Length: 0\r\n")],
    ["a blank before the first header", "HTTP/1.1 200 OK\r\n A: b\r\n\r\n"],
    ["a blank before a colon", ok("Content-Length : 0\r\n")],
    ["a header without a colon", ok("A\r\nContent-Length: 0\r\n")],
    ["a header without a name", ok(": b\r\nContent-Length: 0\r\n")],
    ["a name beyond ASCII", ok("\xe4: b\r\nContent-Length: 0\r\n")],
    ["a head of 64 KiB", ok(`A: ${"x".repeat(65_536)}\r\n`)],
    ["a head of 32 KiB without an end", `HTTP/1.1 200 OK\r\nA: ${"x".repeat(32_768)}`],
    ["a thousand headers", ok("A: b\r\n".repeat(1_000))],
    ["101 that nobody asked for", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
    ["100 where there is no body", "HTTP/1.1 100 Continue\r\n\r\n"],
    ["103 for ever", "HTTP/1.1 103 Early\r\n\r\n".repeat(17)],
    ["103 with a body", "HTTP/1.1 103 Early\r\nContent-Length: 2\r\n\r\nhi"],
    ["101 with a body", "HTTP/1.1 101 -\r\nTransfer-Encoding: chunked\r\n\r\n", webSocket],
    ["a size in 0x form", `${chunked}0x1\r\na\r\n0\r\n\r\n`],
    ["a negative size", `${chunked}-1\r\na\r\n0\r\n\r\n`],
    ["a blank before a size", `${chunked} 1\r\na\r\n0\r\n\r\n`],
    ["a blank behind a size", `${chunked}1 \r\na\r\n0\r\n\r\n`],
    ["an empty size", `${chunked}\r\na\r\n0\r\n\r\n`],
    ["a size of 17 digits", `${chunked}00000000000000001\r\na\r\n0\r\n\r\n`],
    ["a chunk longer than its size", `${chunked}1\r\nab\r\n0\r\n\r\n`],
    ["a chunk shorter than its size", `${chunked}4\r\nab\r\n0\r\n\r\nxx`],
    ["a bare line feed behind a size", `${chunked}1\na\r\n0\r\n\r\n`],
    ["a bare line feed behind a chunk", `${chunked}1\r\na\n0\r\n\r\n`],
    ["an extension without a name", `${chunked}1;\r\na\r\n0\r\n\r\n`],
    ["a bare carriage return in an extension", `${chunked}1;a\rb\r\na\r\n0\r\n\r\n`],
    ["a null in an extension", `${chunked}1;\0\r\na\r\n0\r\n\r\n`],
    ["an extension that does not end", `${chunked}1;${"x".repeat(2_000)}`],
    ["extensions for ever", `${chunked}${`1;${"x".repeat(1_000)}\r\na\r\n`.repeat(17)}`],
    ["trailers for ever", `${chunked}0\r\n${"a: b\r\n".repeat(65)}`],
    ["a trailer that does not end", `${chunked}0\r\na: ${"x".repeat(16_385)}`],
    ["a folded trailer", `${chunked}0\r\na: b\r\n c\r\n\r\n`],
    ["a trailer without a colon", `${chunked}0\r\nab\r\n\r\n`],
    ["a null in a trailer", `${chunked}0\r\na: \0\r\n\r\n`],
  ] as const) {
    it(`is refused with ${what}`, () => {
      const read = readReply(bytes(text), asked ?? get);
      assert.ok(!["whole", "cut off"].includes(read.outcome), `${read.outcome}: ${JSON.stringify(read)}`);
      const oneByOne = readReply(bytes(text), asked ?? get, everywhere(text));
      assert.ok(!["whole", "cut off"].includes(oneByOne.outcome), `byte by byte: ${oneByOne.outcome}`);
    });
  }

  for (const [what, text] of [
    ["its head", "HTTP/1.1 200 OK\r\nContent-Le"],
    ["its length", ok("Content-Length: 3\r\n", "hi")],
    ["a chunk", `${chunked}3\r\nhi`],
    ["the chunks", `${chunked}2\r\nhi\r\n`],
    ["the last chunk", `${chunked}2\r\nhi\r\n0\r\n`],
    ["its hints", "HTTP/1.1 103 Early\r\n\r\n"],
  ] as const) {
    it(`is cut off when the connection ends within ${what}`, () => {
      assert.equal(readReply(bytes(text)).outcome, "cut off");
    });
  }

  it("has fields behind it, but none that say how it is framed", () => {
    const read = readReply(bytes(`${chunked}0\r\nDigest: a\r\nContent-Length: 9\r\nx:\t b \r\n\r\n`));
    assert.deepEqual([read.outcome, read.trailers], ["whole", ["digest", "a", "x", "b"]]);
  });

  it("has nothing of what comes behind it", () => {
    const read = readReply(bytes(`${ok("Content-Length: 2\r\n", "hi")}HTTP/1.1 200 OK\r\n\r\n`));
    assert.deepEqual([read.outcome, read.body, read.used], ["whole", "hi", ok("Content-Length: 2\r\n", "hi").length]);
  });

  it("gives what came before its fault", () => {
    const read = readReply(bytes(`${chunked}4\r\npart\r\nzz\r\n`));
    assert.deepEqual([read.status, read.body, read.outcome], [200, "part", "the size of a chunk is malformed"]);
  });

  it("is another protocol from its head on, where one was asked for", () => {
    const head = "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n";
    const read = readReply(bytes(`${head}\x81\x00`), webSocket);
    assert.deepEqual([read.status, read.headers, read.used], [101, ["upgrade", "websocket"], head.length]);
  });

  it("is the same wherever reads divide it", () => {
    const field = fc
      .tuple(fc.stringMatching(/^[a-z-]{1,9}$/), fc.stringMatching(/^[!-~]{0,9}$/))
      .filter(([name]) => !["connection", "keep-alive"].includes(name));
    const fields = fc
      .array(field, { maxLength: 4 })
      .map((all) => all.map(([name, value]) => `${name}: ${value}\r\n`).join(""));
    const data = fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 40 });
    const reply = fc
      .record({
        fields,
        early: fc.integer({ min: 0, max: 2 }),
        parts: fc.array(data, { maxLength: 4 }),
        kind: fc.constantFrom("length", "chunks", "end"),
        trailers: fields,
      })
      .map(({ fields: own, early, parts, kind, trailers }) => {
        const body = parts.join("");
        const before = "HTTP/1.1 103 Early\r\nlink: a\r\n\r\n".repeat(early);
        if (kind === "length") return `${before}${ok(`${own}content-length: ${body.length}\r\n`, body)}`;
        if (kind === "end") return `${before}${ok(own, body)}`;
        const chunks = parts.map((part) => `${part.length.toString(16)};x=y\r\n${part}\r\n`).join("");
        return `${before}${ok(`${own}transfer-encoding: chunked\r\n`, `${chunks}0\r\n${trailers}\r\n`)}`;
      });
    fc.assert(
      fc.property(reply, fc.array(fc.nat(400), { maxLength: 12 }), (text, cuts) => {
        const whole = readReply(bytes(text));
        assert.equal(whole.outcome, "whole", text);
        assert.deepEqual(readReply(bytes(text), get, cuts), whole);
        assert.deepEqual(readReply(bytes(text), get, everywhere(text)), whole);
      }),
      { seed: 20_261_123, numRuns: 150 },
    );
  });
});
