import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { until } from "@plinth/kernel/testing";
import { metric, startHttp, type TestHttp } from "../testing/http.ts";
import {
  fieldBlock,
  floods,
  type Fields,
  frameOf,
  frameTypes,
  http2Errors,
  plainHead,
  RawHttp2,
  settingsOf,
  uint32,
} from "../testing/http2-frames.ts";
import type { HttpApp } from "./server.ts";

const routes = (app: HttpApp): void => {
  app.get("/", async ({ headers }) => {
    assert.deepEqual(Object.keys(headers), ["host"], "nothing else has come through");
    return "served";
  });
  app.get("/hang", async () => new Promise(() => {}));
  app.post("/", async ({ body }) => ({ body }));
  app.get("/large", async () => "x".repeat(1_000_000));
};

const start = (settings = {}): Promise<TestHttp> => startHttp({ routes, settings: { http2: true, ...settings } });

/** The plain head with these in the place of its own, or besides. */
function withFields(...more: Fields): Fields {
  const own = plainHead.filter(([name]) => !more.some(([other]) => other === name));
  const [pseudo, ordinary] = [true, false].map((wanted) =>
    [...own, ...more].filter(([name]) => name.startsWith(":") === wanted),
  );
  return [...(pseudo ?? []), ...(ordinary ?? [])];
}

/** After whatever was done to it: it serves others, and keeps nothing. */
async function assertUnhurt(http: TestHttp): Promise<void> {
  const other = new RawHttp2(http.server.port);
  other.head(1);
  assert.equal(await other.answer(1), "200", "another caller is served");
  other.destroy();
  assert.equal((await http.fetch("/large")).status, 200, "and one over HTTP/1.1");
  let left = -1;
  for (let turn = 0; turn < 500 && left !== 0; turn++) {
    await new Promise(setImmediate);
    left =
      (await metric(http, "http_server_http2_connections ")) + (await metric(http, "http_server_active_requests "));
  }
  assert.equal(left, 0, "no connection of HTTP/2 and no request is left");
  assert.deepEqual(await http.reports(), [], "what callers do wrong is no fault of the server");
}

const post = withFields([":method", "POST"], ["content-type", "text/plain"]);

interface Attack {
  readonly what: string;
  readonly send: (caller: RawHttp2) => void;
  /** By the answer to stream 1, the last that is asked of. */
  readonly answer: RegExp;
  readonly stream?: number;
}

const protocolError = /^reset 1$/;
/** Node leaves out a field that is not valid, which nobody sees then, and serves the rest. */
const dropped = /^(200|reset 1)$/;

const attacks: readonly Attack[] = [
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
    answer: /^431$/,
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

describe("what attacks a server of HTTP/2", () => {
  for (const { what, send, answer, stream = 1 } of attacks) {
    it(`${what}: answered, and others are served`, async () => {
      await using http = await start();
      const caller = new RawHttp2(http.server.port);
      send(caller);
      assert.match(await caller.answer(stream), answer);
      caller.destroy();
      await assertUnhurt(http);
    });
  }
});

describe("the budget of resets", () => {
  const kinds: readonly (readonly [string, (caller: RawHttp2, stream: number) => void])[] = [
    ["the caller's", (caller, stream) => caller.reset(stream, http2Errors.cancel)],
    ["those it makes the server send by a bad window", (caller, stream) => caller.window(stream, 0)],
    ["those it makes the server send by a length that is none", (caller, stream) => caller.data(stream, "x")],
  ];
  for (const [what, reset] of kinds) {
    it(`ends the connection and cancels all its work: ${what}`, async () => {
      let [begun, cancelled] = [0, 0];
      await using http = await startHttp({
        settings: { http2: true },
        routes: (app) =>
          void app.all("/", async ({ signal }) => {
            begun++;
            signal.addEventListener("abort", () => cancelled++);
            return new Promise(() => {});
          }),
      });
      const caller = new RawHttp2(http.server.port);
      const head = withFields([":method", "POST"], ["content-length", "5"], ["content-type", "text/plain"]);
      const kept = plainHead; // stays under way until the connection ends
      caller.head(1, kept);
      let stream = 3;
      for (; stream < 400 && !caller.socket.destroyed; stream += 2) {
        if (reset === kinds[2]?.[1]) caller.head(stream, head, { end: false });
        else caller.head(stream, kept);
        reset(caller, stream);
        await new Promise(setImmediate);
      }
      await caller.closed;
      const goaway = caller.frames.find(({ type }) => type === frameTypes.goaway);
      const code = goaway?.payload.readUInt32BE(4);
      if (reset !== kinds[0]?.[1]) assert.notEqual(code, http2Errors.none, "node ends it at the first");
      else {
        assert.equal(code, http2Errors.calm);
        assert.equal(await metric(http, 'http_server_http2_floods_total{kind="reset"}'), 1);
      }
      await until(() => cancelled === begun, { what: "nothing goes on for it" });
      assert.ok(begun < 200, `${begun} begun`);
      assert.equal(await metric(http, "http_server_active_requests "), 0);
    });
  }
});
