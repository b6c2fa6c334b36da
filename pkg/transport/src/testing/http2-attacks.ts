import {
  fieldBlock,
  type Fields,
  floods,
  frameOf,
  http2Errors,
  plainHead,
  type RawHttp2,
  settingsOf,
  uint32,
} from "./http2-frames.ts";

/** The plain head with these in the place of its own, or besides. */
export function withFields(...more: Fields): Fields {
  const own = plainHead.filter(([name]) => !more.some(([other]) => other === name));
  const [pseudo, ordinary] = [true, false].map((wanted) =>
    [...own, ...more].filter(([name]) => name.startsWith(":") === wanted),
  );
  return [...(pseudo ?? []), ...(ordinary ?? [])];
}

const post = withFields([":method", "POST"], ["content-type", "text/plain"]);

export interface Attack {
  readonly what: string;
  readonly send: (caller: RawHttp2) => void;
  /** By the answer to stream 1, the last that is asked of. */
  readonly answer: RegExp;
  readonly stream?: number;
}

const protocolError = /^reset 1$/;
/** Node leaves out a field that is not valid, which nobody sees then, and serves the rest. */
const dropped = /^(200|reset 1)$/;

/** What every server of HTTP/2 that faces strangers is sent one day. `/hang` is not answered, all else is with 200. */
export const attacks: readonly Attack[] = [
  {
    what: "a path with a space",
    send: (caller) => caller.head(1, withFields([":path", "/a b"])),
    answer: protocolError,
  },
  {
    what: "a path with CRLF",
    send: (caller) => caller.head(1, withFields([":path", "/\r\nx: y"])),
    answer: protocolError,
  },
  { what: "an empty path", send: (caller) => caller.head(1, withFields([":path", ""])), answer: protocolError },
  {
    what: "a path that is a URL",
    send: (caller) => caller.head(1, withFields([":path", "http://localhost/"])),
    answer: /^(400|reset 1)$/,
  },
  { what: "a path with a fragment", send: (caller) => caller.head(1, withFields([":path", "/a#b"])), answer: /^400$/ },
  {
    what: "a path with a NUL escaped",
    send: (caller) => caller.head(1, withFields([":path", "/a%00"])),
    answer: /^400$/,
  },
  { what: "no path", send: (caller) => caller.head(1, plainHead.slice(0, 3)), answer: protocolError },
  { what: "two paths", send: (caller) => caller.head(1, [...plainHead, [":path", "/b"]]), answer: protocolError },
  {
    what: "a pseudo-header of replies",
    send: (caller) => caller.head(1, withFields([":status", "200"])),
    answer: protocolError,
  },
  {
    what: "a pseudo-header after others",
    send: (caller) => caller.head(1, [["x", "y"], ...plainHead]),
    answer: protocolError,
  },
  { what: "an unknown scheme", send: (caller) => caller.head(1, withFields([":scheme", "ftp"])), answer: /^400$/ },
  { what: "an empty scheme", send: (caller) => caller.head(1, withFields([":scheme", ""])), answer: /^(400|reset 1)$/ },
  {
    what: "a host other than the authority",
    send: (caller) => caller.head(1, withFields(["host", "other"])),
    answer: /^400$/,
  },
  {
    what: "an authority with a user",
    send: (caller) => caller.head(1, withFields([":authority", "a@localhost"])),
    answer: /^(400|reset 1)$/,
  },
  {
    what: "neither host nor authority",
    send: (caller) =>
      caller.head(
        1,
        plainHead.filter(([name]) => name !== ":authority"),
      ),
    answer: /^(400|reset 1)$/,
  },
  { what: "connection", send: (caller) => caller.head(1, withFields(["connection", "close"])), answer: protocolError },
  {
    what: "transfer-encoding",
    send: (caller) => caller.head(1, withFields(["transfer-encoding", "chunked"])),
    answer: protocolError,
  },
  { what: "upgrade", send: (caller) => caller.head(1, withFields(["upgrade", "websocket"])), answer: protocolError },
  {
    what: "te other than trailers",
    send: (caller) => caller.head(1, withFields(["te", "gzip"])),
    answer: protocolError,
  },
  {
    what: "a name in upper case",
    send: (caller) => caller.head(1, withFields(["X-Upper", "1"])),
    answer: protocolError,
  },
  { what: "an empty name", send: (caller) => caller.head(1, withFields(["", "1"])), answer: dropped },
  { what: "a name with a colon", send: (caller) => caller.head(1, withFields(["a:b", "1"])), answer: dropped },
  { what: "a space before a value", send: (caller) => caller.head(1, withFields(["x", " y"])), answer: dropped },
  { what: "a tab after a value", send: (caller) => caller.head(1, withFields(["x", "y\t"])), answer: dropped },
  { what: "CRLF in a value", send: (caller) => caller.head(1, withFields(["x", "y\r\nz: a"])), answer: dropped },
  { what: "NUL in a value", send: (caller) => caller.head(1, withFields(["x", "\0"])), answer: dropped },
  {
    what: "CONNECT",
    send: (caller) =>
      caller.head(
        1,
        [
          [":method", "CONNECT"],
          [":authority", "localhost:80"],
        ],
        { end: false },
      ),
    answer: /^405$/,
  },
  {
    what: "extended CONNECT, which is off",
    send: (caller) => caller.head(1, withFields([":method", "CONNECT"], [":protocol", "websocket"]), { end: false }),
    answer: /^(405|400|reset 1)$/,
  },
  { what: "TRACE", send: (caller) => caller.head(1, withFields([":method", "TRACE"])), answer: /^405$/ },
  {
    what: "content-length more than the body",
    send(caller) {
      caller.head(1, [...post, ["content-length", "10"]], { end: false });
      caller.data(1, "four");
    },
    answer: protocolError,
  },
  {
    what: "content-length less than the body",
    send(caller) {
      caller.head(1, [...post, ["content-length", "2"]], { end: false });
      caller.data(1, "four");
    },
    answer: /^(reset 1|goaway [12])$/, // node ends the connection where nghttp2 ends the stream
  },
  {
    what: "content-length without a body",
    send: (caller) => caller.head(1, [...post, ["content-length", "2"]]),
    answer: protocolError,
  },
  {
    what: "two content-lengths",
    send: (caller) => caller.head(1, [...post, ["content-length", "0"], ["content-length", "0"]]),
    answer: protocolError,
  },
  {
    what: "a content-length that is no number",
    send: (caller) => caller.head(1, [...post, ["content-length", "+0"]]),
    answer: protocolError,
  },
  {
    what: "a list of headers past 16 KiB",
    send: (caller) =>
      caller.head(1, withFields(...Array.from({ length: 10 }, (_, at) => [`x-${at}`, "y".repeat(1_700)] as const))),
    answer: /^(431|reset (1|7|11)|goaway \d+)$/,
  },
  {
    what: "more than a hundred header lines",
    send: (caller) => caller.head(1, withFields(...Array.from({ length: 110 }, (_, at) => [`x-${at}`, "y"] as const))),
    answer: /^(431|reset 11)$/, // by Node itself where many more than are allowed
  },
  {
    what: "thousands of tiny headers",
    send: (caller) => caller.head(1, withFields(...Array.from({ length: 2_500 }, () => ["a", ""] as const))),
    answer: /^(431|reset (1|7|11)|goaway \d+|closed)$/,
  },
  {
    what: "CONTINUATION without end",
    send(caller) {
      caller.head(1, plainHead, { whole: false });
      for (let at = 0; at < 2_000; at++) caller.send("continuation", 0, 1, fieldBlock([[`x-${at}`, "y".repeat(100)]]));
    },
    answer: /^(goaway (1|2|11)|closed)$/,
  },
  {
    what: "empty CONTINUATION without end",
    send(caller) {
      caller.head(1, plainHead, { whole: false });
      for (let at = 0; at < 2_000; at++) caller.send("continuation", 0, 1);
    },
    answer: /^(goaway (1|2|11)|closed)$/,
  },
  {
    what: "a table of headers that doubles (an HPACK bomb)",
    send(caller) {
      const bomb = Buffer.concat([Buffer.from([0x40, 1, 0x61, 0x7f, 0x81, 0x1e]), Buffer.alloc(4_000, 0x62)]); // a: b × 4000, kept
      const again = Buffer.alloc(10_000, 0xbe); // the newest of the table, ten thousand times
      caller.send("headers", 5, 1, Buffer.concat([fieldBlock(plainHead), bomb, again]));
    },
    answer: /^(431|reset (1|7|11)|goaway \d+|closed)$/,
  },
  {
    what: "a window of the connection past 2^31-1",
    send(caller) {
      caller.head(1, withFields([":path", "/hang"]));
      caller.window(0, 0x7f_ff_ff_ff);
      caller.window(0, 0x7f_ff_ff_ff);
    },
    answer: /^(goaway 3|closed)$/,
  },
  {
    what: "a window of a stream past 2^31-1",
    send(caller) {
      caller.head(1, withFields([":path", "/hang"]));
      caller.window(1, 0x7f_ff_ff_ff);
    },
    answer: /^(reset|goaway) 3$/,
  },
  {
    what: "an initial window past 2^31-1",
    send: (caller) => caller.send("settings", 0, 0, settingsOf({ 4: 0xff_ff_ff_ff })),
    answer: /^goaway 3$/,
  },
  { ...floods.pings, answer: /^goaway 11$/ },
  { ...floods.settings, answer: /^goaway 11$/ },
  { ...floods.entries, answer: /^goaway \d+$/ },
  {
    what: "empty DATA without end",
    send(caller) {
      caller.head(1, post, { end: false });
      for (let at = 0; at < 2_000; at++) caller.send("data", 0, 1);
    },
    answer: /^(goaway \d+|closed)$/,
  },
  {
    what: "PRIORITY without end",
    send(caller) {
      for (let at = 0; at < 5_000; at++) caller.send("priority", 0, 1 + 2 * at, Buffer.alloc(5));
      caller.head(20_001);
    },
    stream: 20_001,
    answer: /^200$/, // costs nothing: it is dropped
  },
  {
    what: "a frame larger than allowed",
    send: (caller) => caller.send("data", 0, 1, Buffer.alloc(20_000)),
    answer: /^goaway (1|6)$/,
  },
  { what: "DATA on a stream that never was", send: (caller) => caller.data(1, "x"), answer: /^goaway (1|5)$/ },
  { what: "a stream of an even number", send: (caller) => caller.head(2), answer: /^goaway 1$/ },
  {
    what: "a push from the caller",
    send: (caller) => void caller.socket.write(Buffer.from([0, 0, 4, 5, 4, 0, 0, 0, 1, 0, 0, 0, 2])),
    answer: /^goaway 1$/,
  },
  {
    what: "resets of ten thousand requests with their heads (rapid reset)",
    send(caller) {
      const frames: Buffer[] = [];
      for (let at = 0; at < 10_000; at++) {
        const stream = 1 + 2 * at;
        frames.push(
          frameOf("headers", 5, stream, fieldBlock(plainHead)),
          frameOf("reset", 0, stream, uint32(http2Errors.cancel)),
        );
      }
      caller.socket.write(Buffer.concat(frames));
    },
    stream: 99_999,
    answer: /^(goaway \d+|closed)$/,
  },
  {
    what: "requests that it makes the server reset, by bad windows (made you reset)",
    send(caller) {
      const frames: Buffer[] = [];
      for (let at = 0; at < 2_000; at++) {
        const stream = 1 + 2 * at;
        frames.push(frameOf("headers", 5, stream, fieldBlock(withFields([":path", "/hang"]))));
        frames.push(frameOf("windowUpdate", 0, stream, uint32(0)));
      }
      caller.socket.write(Buffer.concat(frames));
    },
    stream: 99_999,
    answer: /^(goaway \d+|closed)$/,
  },
  {
    what: "requests that it makes the server reset, by DATA after their end (made you reset)",
    send(caller) {
      const frames: Buffer[] = [];
      for (let at = 0; at < 2_000; at++) {
        const stream = 1 + 2 * at;
        frames.push(frameOf("headers", 5, stream, fieldBlock(withFields([":path", "/hang"]))));
        frames.push(frameOf("data", 0, stream, Buffer.from("x")));
      }
      caller.socket.write(Buffer.concat(frames));
    },
    stream: 99_999,
    answer: /^(goaway \d+|closed)$/,
  },
];
