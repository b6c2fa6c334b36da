import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ReplyReader } from "./reply-reader.ts";

const reply = (body: string, more = "") =>
  Buffer.from(`HTTP/1.1 200 OK\r\ndate: now\r\nContent-Length: ${body.length}\r\n${more}\r\n${body}`);

describe("ReplyReader", () => {
  it("reads one reply after another", () => {
    const reader = new ReplyReader();
    for (const body of ["hello", "", "a longer one"]) {
      assert.equal(reader.push(reply(body)), true);
      assert.deepEqual([reader.status, reader.bodyBytes], [200, body.length]);
    }
  });

  it("reads a reply that is cut at any byte, from a buffer that is used again", () => {
    const bytes = reply("hello");
    for (let cut = 1; cut < bytes.length; cut += 1) {
      const reader = new ReplyReader();
      const first = Buffer.from(bytes.subarray(0, cut));
      assert.equal(reader.push(first), false, `cut at ${cut}`);
      first.fill(0);
      assert.equal(reader.push(bytes.subarray(cut)), true, `cut at ${cut}`);
      assert.deepEqual([reader.status, reader.bodyBytes], [200, 5]);
    }
  });

  it("reads a reply that comes byte by byte", () => {
    const reader = new ReplyReader();
    const bytes = [...reply("hi")];
    const done = bytes.map((byte) => reader.push(Buffer.of(byte)));
    assert.deepEqual(done, [...bytes.slice(1).map(() => false), true]);
  });

  for (const [what, text, message] of [
    ["another protocol", "HTTP/2 200 OK\r\ncontent-length: 0\r\n\r\n", /^not an HTTP\/1.1 reply/],
    ["no status", "HTTP/1.1 OK\r\ncontent-length: 0\r\n\r\n", /^not an HTTP\/1.1 reply/],
    ["an interim reply", "HTTP/1.1 100 Continue\r\n\r\n", /^not an HTTP\/1.1 reply/],
    ["no length", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", /^reply 200 has no Content-Length/],
    [
      "a length that is no number",
      "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
      /^reply 200 has no Content-Length/,
    ],
    ["bytes after the body", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhello", /^3 bytes after the end of a reply/],
    ["an endless head", "x".repeat(17_000), /^head of more than 16384 bytes/],
  ] as const) {
    it(`refuses ${what}`, () => {
      assert.throws(() => new ReplyReader().push(Buffer.from(text)), { name: "ReplyError", message });
    });
  }

  it("refuses bytes after a body that came in parts", () => {
    const reader = new ReplyReader();
    reader.push(Buffer.from("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhe"));
    assert.throws(() => reader.push(Buffer.from("llo")), { name: "ReplyError", message: /^1 bytes after/ });
  });
});
