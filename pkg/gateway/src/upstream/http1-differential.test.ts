// Whatever our reader takes for a reply, llhttp takes for the same one: there is nothing that only we would believe.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { readByNode } from "../testing/node-reply.ts";
import { readReply } from "../testing/read-reply.ts";

/** `PLINTH_FUZZ_RUNS=200000` for a long look; with `PLINTH_FUZZ_SEED`, at other replies. */
const numRuns = Number(process.env["PLINTH_FUZZ_RUNS"] ?? 1_500);
const seed = Number(process.env["PLINTH_FUZZ_SEED"] ?? 9_112);

const valid = [
  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: x\r\n\r\nhi",
  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\na;b=c\r\n0123456789\r\n0\r\nDigest: a\r\n\r\n",
  "HTTP/1.0 404 Not Found\r\nA: b\r\nA: c\r\n\r\ngone",
  "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
  'HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: "a"\r\n\r\n',
  "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a="b c\\""\r\nx\r\n0\r\n\r\n',
] as const;

/** What attacks are made of. */
const spice = [
  "\r\n",
  "\n",
  "\r",
  " ",
  "\t",
  "\0",
  "\v",
  "\f",
  "\x7f",
  "\x80",
  "\xff",
  ":",
  ";",
  ",",
  "=",
  '"',
  "\\",
  "+",
  "-",
  "_",
  "0",
  "1",
  "a",
  "0x",
  "\r\n ",
  "\r\n\r\n",
  "0\r\n\r\n",
  "Content-Length: 2\r\n",
  "Content-Length: 3\r\n",
  "Content-Length:\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Transfer-Encoding: gzip\r\n",
  "Transfer-Encoding : chunked\r\n",
  "transfer-encoding:chunked",
  "chunked",
  "HTTP/1.1",
  "HTTP/1.1 100 Continue\r\n\r\n",
  "HTTP/2.0",
  "Connection: close\r\n",
  "Upgrade: x\r\n",
  "X\r\n",
  "99",
  "1 1",
  "fffffffffffffffff",
  "FFFFFFFFFFFFF",
] as const;

interface Edit {
  readonly at: number;
  readonly drop: number;
  readonly put: string;
}

const edit = fc.record<Edit>({
  at: fc.nat(160),
  drop: fc.oneof(fc.constant(0), fc.constant(1), fc.nat(12)),
  put: fc.oneof(fc.constant(""), fc.constantFrom(...spice), fc.string({ unit: "binary-ascii", maxLength: 2 })),
});

function edited(text: string, edits: readonly Edit[]): string {
  return edits.reduce((so, { at, drop, put }) => {
    const from = at % (so.length + 1);
    return so.slice(0, from) + put + so.slice(from + drop);
  }, text);
}

describe("what our reader takes for a reply", () => {
  it("is the same reply to llhttp, with the same status, fields and body", async () => {
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...valid),
        fc.array(edit, { maxLength: 3 }),
        fc.constantFrom("GET", "GET", "HEAD"),
        async (text, edits, method) => {
          const bytes = Buffer.from(edited(text, edits), "latin1");
          const ours = readReply(bytes, { method, body: null });
          if (ours.outcome !== "whole") return;
          taken++;
          const theirs = await readByNode(bytes.subarray(0, ours.used), method);
          const { status, headers, body } = ours;
          assert.deepEqual(theirs, { status, headers, body }, JSON.stringify(bytes.toString("latin1")));
        },
      ),
      { seed, numRuns },
    );
    assert.ok(taken > numRuns / 10, `${taken} of ${numRuns} were replies at all`);
  });
});
