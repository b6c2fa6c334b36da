// HTTP/2 that is not as RFC 9113 and RFC 7541 have it, or tries to become another request of HTTP/1.1 on its way to the origin.
import { attacks, withFields } from "../../../pkg/transport/src/testing/http2-attacks.ts";
import { fieldBlock, type Fields, plainHead } from "../../../pkg/transport/src/testing/http2-frames.ts";
import { http2Frames } from "./http2-frames.ts";
import type { Http2Row } from "./http2-row.ts";

const malformed = /^(400 (malformed_request|invalid_host|invalid_target)|reset 1)$/;
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
const post: Fields = withFields([":method", "POST"]);

const head = (what: string, fields: Fields, answer: RegExp): Http2Row => ({
  what,
  send: (caller) => caller.head(1, fields),
  answer,
});

/** What is to become a line of HTTP/1.1 and has more than one in it, or none. */
const lines: readonly Http2Row[] = [
  head("a request in a path", withFields([":path", `/ HTTP/1.1\r\nHost: a\r\n\r\n${smuggled}`]), malformed),
  head("a version in a path", withFields([":path", "/ HTTP/1.1"]), malformed),
  head("a tab in a path", withFields([":path", "/a\tb"]), malformed),
  head("a NUL in a path", withFields([":path", "/a\0b"]), malformed),
  head("a byte beyond ASCII in a path", withFields([":path", "/\xe4"]), malformed),
  head("a path that is a name", withFields([":path", "admin"]), malformed),
  head("a path that only a server's OPTIONS has", withFields([":path", "*"]), malformed),
  head("an encoded slash", withFields([":path", "/public/..%2fadmin"]), /^400 invalid_target$/),
  head("a path that goes back to a guarded one", withFields([":path", "/public/../admin"]), /^401 token_missing$/),
  head("a guarded path in another spelling", withFields([":path", "//%61dmin"]), /^401 token_missing$/),
  head("a request in a method", withFields([":method", `GET / HTTP/1.1\r\nHost: a\r\n\r\n${smuggled}GET`]), malformed),
  head("a method with a space", withFields([":method", "GET /admin"]), malformed),
  head("a method in lower case", withFields([":method", "get"]), malformed),
  head("a method that there is not", withFields([":method", "FROB"]), malformed),
  head("an empty method", withFields([":method", ""]), malformed),
  head("two methods", [[":method", "POST"], ...plainHead], malformed),
  head("two schemes", [[":scheme", "https"], ...plainHead], malformed),
  head("two authorities", [[":authority", "b"], ...plainHead], malformed),
  head("an unknown pseudo-header", withFields([":admin", "1"]), malformed),
  head("no method", plainHead.slice(1), malformed),
  head(
    "no scheme",
    withFields().filter(([name]) => name !== ":scheme"),
    malformed,
  ),
  head("a header in an authority", withFields([":authority", "a\r\nX-A: b"]), malformed),
  head("an authority with a space", withFields([":authority", "a b"]), malformed),
  head("an authority with a path", withFields([":authority", "a/b"]), malformed),
  head("a list of authorities", withFields([":authority", "a,b"]), malformed),
  head("an empty authority", withFields([":authority", ""]), malformed),
  head("two hosts beside the authority", withFields(["host", "localhost"], ["host", "b"]), malformed),
  head("a request in a scheme", withFields([":scheme", `http\r\n\r\n${smuggled}`]), malformed),
  head(
    "two Authorization headers",
    withFields(["authorization", "a"], ["authorization", "b"]),
    /^400 duplicate_authorization$/,
  ),
  ...["keep-alive", "proxy-connection", "http2-settings"].map((name) =>
    head(name, withFields([name, "x"]), name === "http2-settings" ? malformed : /^reset 1$/),
  ),
  head("te: trailers, and more", withFields(["te", "trailers, gzip"]), malformed),
  head("a coding, and a body that is a request by it", withFields(["transfer-encoding", "chunked"]), malformed),
  head("a length in a list", [...post, ["content-length", "5, 5"]], malformed),
  head("a huge length", [...post, ["content-length", "99999999999999999999"]], malformed),
  {
    what: "a body behind a length of 0",
    send(caller) {
      caller.head(1, [...post, ["content-length", "0"]], { end: false });
      caller.data(1, smuggled);
    },
    answer: /^(reset 1|goaway [125])$/,
  },
  {
    what: "a coding that the origin would go by, and a request behind its end",
    send(caller) {
      caller.head(1, [...post, ["transfer-encoding", "chunked"]], { end: false });
      caller.data(1, `0\r\n\r\n${smuggled}`);
    },
    answer: /^(reset 1|goaway [15])$/,
  },
];

/** A field that cannot be written in HTTP/1.1: the request is refused, or goes on without it, as Node leaves it out. */
const dropped: readonly Http2Row[] = (
  [
    ["a header in a value", ["x-a", `b\r\nTransfer-Encoding: chunked`]],
    ["a request in a value", ["x-a", `b\r\n\r\n${smuggled}`]],
    ["a line feed in a value", ["x-a", "b\nc"]],
    ["a carriage return in a value", ["x-a", "b\rc"]],
    ["a line feed at the end of a value", ["x-a", "b\n"]],
    ["a header in a name", ["x-a: b\r\nx-b", "c"]],
    ["a space in a name", ["x a", "b"]],
    ["a name that ends in a colon", ["content-length:", "5"]],
    ["a name with a NUL", ["x\0", "b"]],
    ["a name beyond ASCII", ["x-\xe4", "b"]],
    ["a name with a tab behind it", ["transfer-encoding\t", "chunked"]],
  ] as const
).map(([what, field]) => ({
  ...head(what, withFields([":path", "/x"], field), /^(200|400 malformed_request|reset 1)$/),
  fields: { "x-a": [], "x-b": [], "content-length": [], "transfer-encoding": [] },
}));

/** What is unusual and clear. */
const clear: readonly Http2Row[] = [
  {
    what: "a body without a length, which has the look of chunks and a request",
    send(caller) {
      caller.head(1, withFields([":method", "POST"], [":path", "/x"]), { end: false });
      caller.data(1, `0\r\n\r\n${smuggled}`);
    },
    answer: /^200$/,
    reaches: ["POST /x"],
    body: `0\r\n\r\n${smuggled}`,
    fields: { "transfer-encoding": ["chunked"], "content-length": [] },
  },
  {
    what: "GET with a body that is a request",
    send(caller) {
      caller.head(1, withFields([":path", "/x"], ["content-length", `${smuggled.length}`]), { end: false });
      caller.data(1, smuggled);
    },
    answer: /^200$/,
    reaches: ["GET /x"],
    body: smuggled,
    fields: { "content-length": [`${smuggled.length}`], "transfer-encoding": [] },
  },
  {
    what: "a body in frames of one byte, and empty ones between",
    send(caller) {
      caller.head(1, withFields([":method", "POST"], [":path", "/x"], ["content-length", "5"]), { end: false });
      for (const byte of "hello") {
        caller.data(1, byte, false);
        caller.data(1, "", false);
      }
      caller.data(1, "");
    },
    answer: /^200$/,
    reaches: ["POST /x"],
    body: "hello",
  },
  {
    what: "trailers that say who asks and how long it is",
    send(caller) {
      caller.head(1, withFields([":method", "POST"], [":path", "/x"]), { end: false });
      caller.data(1, "a", false);
      caller.head(1, [
        ["authorization", "Bearer x"],
        ["plinth-subject", "root"],
        ["content-length", "100"],
      ]);
    },
    answer: /^(200|reset 1)$/,
    mayReach: 1,
    fields: { authorization: [], "plinth-subject": [] },
  },
  {
    what: "headers that say who asks",
    send: (caller) =>
      caller.head(
        1,
        withFields([":path", "/x"], ["plinth-subject", "root"], ["plinth_subject", "root"], ["x-real-ip", "1.2.3.4"]),
      ),
    answer: /^200$/,
    reaches: ["GET /x"],
    fields: { "plinth-subject": [], plinth_subject: [], "x-real-ip": [], "x-forwarded-for": ["127.0.0.1"] },
  },
  {
    what: "a cookie in crumbs",
    send: (caller) => caller.head(1, withFields([":path", "/x"], ["cookie", "a=1"], ["cookie", "b=2"])),
    answer: /^200$/,
    reaches: ["GET /x"],
    fields: { cookie: ["a=1; b=2"] },
  },
  {
    what: "a host that is the authority",
    send: (caller) => caller.head(1, withFields([":path", "/x"], ["host", "LOCALHOST"])),
    answer: /^200$/,
    reaches: ["GET /x"],
    fields: { "x-forwarded-host": ["LOCALHOST"] },
  },
  {
    what: "a host, and no authority",
    send: (caller) =>
      caller.head(1, [
        [":method", "GET"],
        [":scheme", "http"],
        [":path", "/x"],
        ["host", "a"],
      ]),
    answer: /^200$/,
    reaches: ["GET /x"],
    fields: { "x-forwarded-host": ["a"] },
  },
  {
    what: "bytes beyond ASCII in a value, as they are",
    send: (caller) => caller.head(1, withFields([":path", "/x"], ["x-a", "b\xe4c"])),
    answer: /^200$/,
    reaches: ["GET /x"],
    fields: { "x-a": ["b\xe4c"] },
  },
  {
    what: "a head in a hundred frames",
    send(caller) {
      const block = fieldBlock(withFields([":path", "/x"], ["x-a", "b".repeat(40)]));
      caller.send("headers", 1, 1, block.subarray(0, 1));
      for (let at = 1; at < block.length; at++)
        caller.send("continuation", at === block.length - 1 ? 4 : 0, 1, block.subarray(at, at + 1));
    },
    answer: /^goaway (2|11)$/, // the reader stops at the ninth
  },
];

/** What attacks every server of HTTP/2: here it is the origin that is looked at. */
const common: readonly Http2Row[] = attacks.map((attack) => ({
  ...attack,
  answer: new RegExp(attack.answer.source.replace("$", "( \\w+)?$")),
  mayReach: 200, // of a flood; of one request at most that one
}));

export const http2: readonly Http2Row[] = [...lines, ...dropped, ...clear, ...http2Frames, ...common];
