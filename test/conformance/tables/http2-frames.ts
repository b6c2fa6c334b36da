// Frames of HTTP/2, blocks of headers and windows that are not as RFC 9113 and RFC 7541 have it.
import { withFields } from "../../../pkg/transport/src/testing/http2-attacks.ts";
import {
  fieldBlock,
  type Fields,
  plainHead,
  type RawHttp2,
  settingsOf,
  uint32,
} from "../../../pkg/transport/src/testing/http2-frames.ts";
import type { Http2Row } from "./http2-row.ts";

/** `GET` of a tap that holds replies back. */
const hanging: Fields = withFields([":path", "/hang"]);
/** Frames that the reader of a connection cannot go on behind. */
const ended = /^(goaway (1|3|5|6|9|11)|closed)$/;
const window = (what: string, send: Http2Row["send"], answer: RegExp): Http2Row => ({
  what,
  send,
  answer,
  mayReach: 1,
});

/** Windows, and streams that are not in the state for it. */
const windows: readonly Http2Row[] = [
  {
    what: "a window of one byte at a time",
    async send(caller) {
      caller.send("settings", 0, 0, settingsOf({ 4: 1 }));
      caller.head(1, withFields([":path", "/x"]));
      for (let bytes = 0; bytes < 2;) {
        const frame = await caller.until(({ type, payload }) => type === 0 && payload.length > 0);
        if (frame === undefined) return;
        bytes = caller.frames.filter(({ type }) => type === 0).reduce((sum, { payload }) => sum + payload.length, 0);
        caller.window(1, 1);
        await new Promise(setImmediate);
      }
    },
    answer: /^200$/,
    reaches: ["GET /x"],
  },
  {
    what: "a window that is shut before the reply, and opened behind it",
    async send(caller) {
      caller.send("settings", 0, 0, settingsOf({ 4: 0 }));
      caller.head(1, withFields([":path", "/x"]));
      await caller.answer(1);
      caller.send("settings", 0, 0, settingsOf({ 4: 65_535 }));
      await caller.until(({ type, stream, flags }) => type === 0 && stream === 1 && (flags & 1) === 1);
    },
    answer: /^200$/,
    reaches: ["GET /x"],
  },
  window(
    "a window of a stream opened by nothing",
    (caller) => {
      caller.head(1, hanging);
      caller.window(1, 0);
    },
    /^(reset 1|goaway 1)$/,
  ),
  window(
    "a window of the connection opened by nothing",
    (caller) => {
      caller.head(1, hanging);
      caller.window(0, 0);
    },
    /^goaway 1$/,
  ),
  window("a window of a stream that never was", (caller) => caller.window(5, 1), /^goaway 1$/),
  window(
    "initial windows that take an open one past 2^31-1",
    (caller) => {
      caller.head(1, hanging);
      caller.window(1, 0x7f_ff_00_00);
      caller.send("settings", 0, 0, settingsOf({ 4: 0x7f_ff_ff_ff }));
    },
    /^(reset|goaway) 3$/,
  ),
  window(
    "a head behind the end of a stream",
    (caller) => {
      caller.head(1, hanging);
      caller.head(1, hanging);
    },
    /^(goaway 5|reset 5)$/,
  ),
  window("a reset of a stream that never was", (caller) => caller.reset(7, 8), /^goaway 1$/),
  {
    what: "a stream of a lower number than one before it",
    send(caller) {
      caller.head(5, withFields([":path", "/x"]));
      caller.head(3, withFields([":path", "/smuggled"]));
    },
    stream: 5,
    answer: /^(200|goaway [15])$/,
    mayReach: 1,
  },
];

const raw = (what: string, send: (caller: RawHttp2) => void, answer = ended): Http2Row => ({ what, send, answer });
const block = (what: string, ...bytes: readonly number[]): Http2Row =>
  raw(`HPACK: ${what}`, (caller) =>
    caller.send("headers", 5, 1, Buffer.concat([fieldBlock(plainHead), Buffer.from(bytes)])),
  );

/** Frames and blocks of headers that are broken themselves. */
const frames: readonly Http2Row[] = [
  block("the index 0", 0x80),
  block("an index beyond the table", 0xff, 0x80, 0x01),
  block("an index past 2^32", 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
  block("a table larger than allowed", 0x3f, 0xe1, 0xff, 0x03),
  block("a new size of the table behind fields", 0x20),
  block("a text longer than its frame", 0x00, 0x7e, 0x61),
  block("a length past 2^32", 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
  block("a Huffman code of the end", 0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x00),
  block("Huffman padding of more than seven bits", 0x00, 0x82, 0x1f, 0xff, 0x00),
  raw("CONTINUATION without a head", (caller) => caller.send("continuation", 4, 1, fieldBlock(plainHead))),
  raw("DATA between the frames of a head", (caller) => {
    caller.head(1, plainHead, { whole: false });
    caller.data(1, "x");
  }),
  raw("PING between the frames of a head", (caller) => {
    caller.head(1, plainHead, { whole: false });
    caller.send("ping", 0, 0, Buffer.alloc(8));
  }),
  raw("CONTINUATION of another stream", (caller) => {
    caller.head(1, plainHead, { whole: false });
    caller.send("continuation", 4, 3, fieldBlock(plainHead));
  }),
  raw("padding longer than its frame", (caller) => {
    caller.head(1, hanging, { end: false });
    caller.send("data", 8, 1, Buffer.from([200, 1, 2]));
  }),
  raw("padding of a head longer than its frame", (caller) =>
    caller.send("headers", 5 | 8, 1, Buffer.from([250, ...fieldBlock(plainHead)].slice(0, 20))),
  ),
  raw("SETTINGS of a length that is none", (caller) => caller.send("settings", 0, 0, Buffer.alloc(5))),
  raw("an answer to SETTINGS with settings in it", (caller) => caller.send("settings", 1, 0, settingsOf({ 3: 1 }))),
  raw("SETTINGS of a stream", (caller) => caller.send("settings", 0, 1, settingsOf({ 3: 1 }))),
  raw("a push setting of 2", (caller) => caller.send("settings", 0, 0, settingsOf({ 2: 2 }))),
  raw("frames of at most 1 byte", (caller) => caller.send("settings", 0, 0, settingsOf({ 5: 1 }))),
  raw("PING of a length that is none", (caller) => caller.send("ping", 0, 0, Buffer.alloc(7))),
  raw("PING of a stream", (caller) => caller.send("ping", 0, 1, Buffer.alloc(8))),
  raw("a reset of the connection", (caller) => caller.send("reset", 0, 0, uint32(8))),
  raw("a reset of a length that is none", (caller) => caller.send("reset", 0, 1, Buffer.alloc(3))),
  raw("a window of a length that is none", (caller) => caller.send("windowUpdate", 0, 0, Buffer.alloc(3))),
  raw("DATA of the connection", (caller) => caller.data(0, "x")),
  raw("a head of the connection", (caller) => caller.head(0)),
].map((row) => ({ ...row, mayReach: 1 }));

export const http2Frames: readonly Http2Row[] = [...windows, ...frames];
