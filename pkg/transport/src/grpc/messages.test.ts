import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { deflateSync, gzipSync } from "node:zlib";
import { framed, inflate, MessageReader, onlyMessage } from "./messages.ts";

const texts = ["one", "", "x".repeat(300)];
const wire = Buffer.concat(texts.map((text) => framed(Buffer.from(text))));

/** What a reader makes of chunks of that many bytes. */
function readBy(
  size: number,
  bytes: Buffer,
  maxBytes = 1_000,
): { readonly texts: string[]; readonly reader: MessageReader } {
  const reader = new MessageReader(maxBytes);
  const found: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size)
    reader.push(Buffer.from(bytes.subarray(at, at + size)), ({ bytes: message }) => found.push(message));
  return { texts: found.map(String), reader };
}

describe("a reader of messages", () => {
  it("finds the same ones however they are cut", () => {
    for (let size = 1; size <= wire.length; size++) {
      const { texts: found, reader } = readBy(size, wire);
      assert.deepEqual([found, reader.isHalfWay], [texts, false], `in pieces of ${size}`);
    }
  });

  it("knows when the last one is not whole", () => {
    for (const left of [1, 4, 5, 6, 100]) {
      const { texts: found, reader } = readBy(7, wire.subarray(0, wire.length - left));
      assert.deepEqual([found, reader.isHalfWay], [["one", ""], true]);
    }
  });

  it("refuses a message by its prefix, before it is there", () => {
    const reader = new MessageReader(10);
    const prefix = framed(Buffer.alloc(11)).subarray(0, 5);
    assert.throws(() => reader.push(prefix, () => assert.fail()), { code: "ERR_REQUEST_TOO_LARGE" });
    assert.deepEqual(readBy(3, framed(Buffer.alloc(10)), 10).texts, ["\0".repeat(10)]);
  });

  it("holds on to nothing of what was read with a message", () => {
    const slab = Buffer.alloc(65_536);
    framed(Buffer.from("small")).copy(slab);
    const chunk = slab.subarray(0, 10);
    const messages = [onlyMessage(chunk, 100)];
    new MessageReader(100).push(chunk, ({ bytes }) => messages.push(bytes));
    for (const message of messages) {
      assert.equal(String(message), "small");
      assert.notEqual(message?.buffer, slab.buffer);
    }
  });
});

describe("a chunk that is one message", () => {
  it("is told from one that is less, more, compressed or too large", () => {
    const one = framed(Buffer.from("abc"));
    assert.equal(String(onlyMessage(one, 3)), "abc");
    const others = [
      one.subarray(0, 4),
      one.subarray(0, 7),
      Buffer.concat([one, one]),
      Buffer.from([1, ...one.subarray(1)]),
    ];
    for (const other of others) assert.equal(onlyMessage(other, 100), undefined);
    assert.equal(onlyMessage(one, 2), undefined);
  });
});

describe("a compressed message", () => {
  const plain = Buffer.from("y".repeat(1_000));

  it("is inflated by the ways that replies name", async () => {
    assert.deepEqual(await inflate(gzipSync(plain), "gzip", 1_000), plain);
    assert.deepEqual(await inflate(deflateSync(plain), "deflate", 1_000), plain);
  });

  it("that becomes larger than is allowed is given up", async () => {
    await assert.rejects(inflate(gzipSync(Buffer.alloc(50_000_000)), "gzip", 1_000), { code: "ERR_REQUEST_TOO_LARGE" });
  });

  it("in another way, or of other bytes, is the caller's fault", async () => {
    for (const encoding of ["br", "identity", undefined])
      await assert.rejects(inflate(plain, encoding, 1_000), { code: "ERR_REQUEST_BODY", status: "unimplemented" });
    for (const bytes of [plain, Buffer.alloc(0), gzipSync(plain).subarray(0, 20)])
      await assert.rejects(inflate(bytes, "gzip", 1_000), { code: "ERR_REQUEST_BODY", status: "invalid_argument" });
  });
});
