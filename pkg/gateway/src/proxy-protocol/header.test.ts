import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { array, assert as hold, constantFrom, nat, property, tuple, uint8Array } from "fast-check";
import { crc32c } from "./crc32c.ts";
import { readProxyHeader } from "./header.ts";

const signature = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");

/** A header of version 2. */
function binary(command: number, kind: number, rest: Buffer, length = rest.length): Buffer {
  return Buffer.concat([signature, Buffer.from([command, kind, length >> 8, length & 0xff]), rest]);
}

const four = Buffer.from([192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 0x01, 0xbb]);
const six = Buffer.concat([
  Buffer.from("20010db8000000000000000000000007", "hex"),
  Buffer.from("20010db8000000000000000000000001", "hex"),
  Buffer.from([0x1f, 0x90, 0x01, 0xbb]),
]);

function withChecksum(): Buffer {
  const header = binary(0x21, 0x11, Buffer.concat([four, Buffer.from([0x03, 0, 4, 0, 0, 0, 0])]));
  header.writeUInt32BE(crc32c(header), header.length - 4);
  return header;
}

const good: readonly (readonly [
  what: string,
  header: Buffer,
  source: { address: string; port: number } | undefined,
])[] = [
  ["TCP4", Buffer.from("PROXY TCP4 192.0.2.7 10.0.0.1 8080 443\r\n"), { address: "192.0.2.7", port: 8080 }],
  ["TCP6", Buffer.from("PROXY TCP6 2001:db8::7 2001:DB8::1 8080 443\r\n"), { address: "2001:db8::7", port: 8080 }],
  ["UNKNOWN", Buffer.from("PROXY UNKNOWN\r\n"), undefined],
  ["UNKNOWN with what is not looked at", Buffer.from("PROXY UNKNOWN ffff::1 x 1 2\r\n"), undefined],
  ["the longest line", Buffer.from(`PROXY UNKNOWN ${"x".repeat(91)}\r\n`), undefined],
  ["IPv4", binary(0x21, 0x11, four), { address: "192.0.2.7", port: 8080 }],
  ["IPv6", binary(0x21, 0x21, six), { address: "2001:db8::7", port: 8080 }],
  [
    "fields behind",
    binary(0x21, 0x11, Buffer.concat([four, Buffer.from([0xe0, 0, 2, 1, 2, 4, 0, 0])])),
    { address: "192.0.2.7", port: 8080 },
  ],
  ["a checksum", withChecksum(), { address: "192.0.2.7", port: 8080 }],
  ["LOCAL", binary(0x20, 0x00, Buffer.alloc(0)), undefined],
  ["LOCAL with addresses", binary(0x20, 0x11, four), undefined],
  ["an unspecified family", binary(0x21, 0x00, Buffer.from([1, 2, 3])), undefined],
  ["a socket of the file system", binary(0x21, 0x31, Buffer.alloc(216)), undefined],
];

const badChecksum = withChecksum();
badChecksum.writeUInt8(193, 16);

const bad: readonly (readonly [what: string, header: Buffer | string])[] = [
  ["HTTP", "GET / HTTP/1.1\r\n"],
  ["TLS", Buffer.from([0x16, 0x03, 0x01])],
  ["lower case", "proxy TCP4 "],
  ["a family of neither", "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n"],
  ["no addresses", "PROXY TCP4\r\n"],
  ["IPv6 as TCP4", "PROXY TCP4 ::1 ::1 1 2\r\n"],
  ["IPv4 as TCP6", "PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n"],
  ["a leading zero", "PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n"],
  ["a number too large", "PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n"],
  ["a zone", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n"],
  ["two spaces", "PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n"],
  ["a space at the end", "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n"],
  ["a port too high", "PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n"],
  ["a port with a zero before it", "PROXY TCP4 1.1.1.1 2.2.2.2 080 2\r\n"],
  ["a port below none", "PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n"],
  ["a port too few", "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n"],
  ["something more", "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n"],
  ["a bare line feed", "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n"],
  ["a return within", "PROXY UNKNOWN a\rb\r\n"],
  ["UNKNOWN and no space", "PROXY UNKNOWNS\r\n"],
  ["a line too long", `PROXY UNKNOWN ${"x".repeat(92)}\r\n`],
  ["no end in 107 bytes", `PROXY UNKNOWN ${"x".repeat(93)}`],
  ["a broken signature", "\r\n\r\n\0\r\nQUIZ\n"],
  ["version 1 in binary", binary(0x11, 0x11, four)],
  ["a command that is none", binary(0x22, 0x11, four)],
  ["datagrams", binary(0x21, 0x12, four)],
  ["a family that is none", binary(0x21, 0x41, Buffer.alloc(216))],
  ["fewer bytes than addresses", binary(0x21, 0x11, four.subarray(0, 11))],
  ["fewer bytes than IPv6 addresses", binary(0x21, 0x21, four)],
  ["a length past 4 096", binary(0x21, 0x11, four, 4_097)],
  ["a field that is cut off", binary(0x21, 0x11, Buffer.concat([four, Buffer.from([0x04, 0])]))],
  ["a field that is longer than the rest", binary(0x21, 0x11, Buffer.concat([four, Buffer.from([0x04, 0, 9, 1])]))],
  ["a checksum of three bytes", binary(0x21, 0x11, Buffer.concat([four, Buffer.from([0x03, 0, 3, 1, 2, 3])]))],
  ["a checksum that is wrong", badChecksum],
];

describe("a PROXY header", () => {
  for (const [what, header, source] of good) {
    it(`${what}: is taken, as soon as it is whole and not before`, () => {
      assert.deepEqual(readProxyHeader(Buffer.concat([header, Buffer.from("GET /")])), {
        length: header.length,
        source,
      });
      for (let at = 0; at < header.length; at++)
        assert.equal(readProxyHeader(header.subarray(0, at)), "more", `at ${at}`);
    });
  }
  for (const [what, header] of bad) {
    it(`${what}: is refused`, () => assert.equal(readProxyHeader(Buffer.from(header)), "invalid"));
  }

  it("has the check value of its polynomial", () => assert.equal(crc32c(Buffer.from("123456789")), 0xe3069283));

  it("is never both refused and taken, however its bytes come, and never throws", () => {
    const seeds = [...good.map(([, header]) => header), ...bad.map(([, header]) => Buffer.from(header))];
    const changed = tuple(
      constantFrom(...seeds),
      array(tuple(nat(260), nat(255)), { maxLength: 3 }),
      uint8Array({ maxLength: 8 }),
    );
    hold(
      property(changed, ([seed, changes, tail]) => {
        const bytes = Buffer.concat([seed, tail]);
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        const verdict = readProxyHeader(bytes);
        let isSettled = false;
        for (let length = 1; length <= bytes.length; length++) {
          const part = readProxyHeader(bytes.subarray(0, length));
          if (part === "more") assert.equal(isSettled, false, "undecided after a verdict");
          else {
            assert.deepEqual(part, verdict);
            isSettled = true;
          }
        }
      }),
      { seed: 20_261_123, numRuns: 300 },
    );
  });
});
