// Request lines, sizes, Host, expectations and upgrades.
import { chunked, closing, get, post, type Row } from "../row.ts";

const malformed = "400 malformed_request";
const end = "0\r\n\r\n";

const lines: readonly Row[] = [
  {
    what: "a coding that only ends like chunked",
    send: post("Transfer-Encoding: xchunked\r\n", end),
    told: "501 coding_unsupported",
  },
  { what: "identity", send: post("Transfer-Encoding: identity\r\n"), told: "501 coding_unsupported" },
  { what: "a real coding", send: post("Transfer-Encoding: gzip, chunked\r\n", end), told: "501 coding_unsupported" },
  {
    what: "a coding in HTTP/1.0",
    send: `POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${end}`,
    told: malformed,
  },
  { what: "HTTP/2.0 in a request line", send: "GET / HTTP/2.0\r\nHost: a\r\n\r\n", told: malformed },
  { what: "HTTP/1.2", send: "GET / HTTP/1.2\r\nHost: a\r\n\r\n", told: malformed },
  { what: "HTTP/0.9", send: "GET /\r\n\r\n", told: malformed },
  { what: "something that is no HTTP", send: "hello there\r\n\r\n", told: malformed },
  { what: "an unknown method", send: "FROB / HTTP/1.1\r\nHost: a\r\n\r\n", told: malformed },
  { what: "a method in lower case", send: "get / HTTP/1.1\r\nHost: a\r\n\r\n", told: malformed },
  {
    what: "the start of a TLS connection",
    send: Buffer.from("16030100a5010000a10303", "hex").toString("latin1"),
    told: malformed,
  },
  { what: "a space before the first header", send: "GET / HTTP/1.1\r\n Host: a\r\n\r\n", told: malformed },
  { what: "a head that ends in \\r\\n\\rX", send: "GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n", told: malformed },
  { what: "a head of bare line feeds", send: "GET / HTTP/1.1\nHost: a\n\n", told: malformed },
  {
    what: "a head larger than 16 KiB",
    send: get("/", `Host: a\r\nX-Big: ${"x".repeat(16_400)}\r\n`),
    told: "431 headers_too_large",
  },
  {
    what: "more than 80 header lines",
    send: get("/", `Host: a\r\n${"X: y\r\n".repeat(80)}`),
    told: "431 headers_too_large",
  },
  {
    what: "16 KiB in two thousand lines",
    send: get("/", `Host: a\r\n${"X: y\r\n".repeat(2_000)}`),
    told: "431 headers_too_large",
  },
  {
    what: "80 header lines",
    send: get("/", `Host: a\r\n${"X: y\r\n".repeat(78)}`),
    told: "200",
    reaches: ["GET /"],
  },
  {
    what: "a long chunk extension",
    send: chunked(`1;${"x".repeat(70_000)}\r\n`),
    told: "413 body_too_large",
    mayReach: "POST /",
  },
  {
    what: "a body longer than the route takes",
    send: post("Content-Length: 1001\r\n", "x".repeat(1_001), "/small"),
    told: "413 body_too_large",
  },
  {
    what: "a body in chunks longer than the route takes",
    send: chunked(`${`64\r\n${"x".repeat(100)}\r\n`.repeat(11)}${end}`, "/small"),
    told: "413 body_too_large",
    mayReach: "POST /small",
  },
];

const hosts: readonly Row[] = (
  [
    ["missing", ""],
    ["twice", "Host: a\r\nHost: a\r\n"],
    ["twice, and different", "Host: a\r\nHost: b\r\n"],
    ["empty", "Host: \r\n"],
    ["a list", "Host: a,b\r\n"],
    ["with a user", "Host: user@a\r\n"],
    ["with a path", "Host: a/b\r\n"],
    ["with a query", "Host: a?b\r\n"],
    ["with a long port", "Host: a:123456\r\n"],
    ["with a port that is none", "Host: a:b\r\n"],
    ["with a space", "Host: a b\r\n"],
    ["a broken IPv6 address", "Host: [::1\r\n"],
  ] as const
).map(([what, headers]) => ({ what: `Host ${what}`, send: get("/", headers), told: "400 invalid_host" }));

const others: readonly Row[] = [
  { what: "no Host in HTTP/1.0", send: "GET / HTTP/1.0\r\n\r\n", told: "400 invalid_host" },
  { what: "an odd expectation", send: get("/", "Host: a\r\nExpect: 200-ok\r\n"), told: "417 expectation_failed" },
  {
    what: "a body that waits to be asked for",
    send: [post("Content-Length: 5\r\nExpect: 100-continue\r\n"), /^HTTP\/1\.1 100 /, "hello"],
    told: "200",
    reaches: ["POST /"],
    body: "hello",
    fields: { expect: [] },
  },
  {
    what: "a body that does not wait to be asked for",
    send: post("Content-Length: 5\r\nExpect: 100-continue\r\n", "hello"),
    told: "200",
    reaches: ["POST /"],
    body: "hello",
  },
  { what: "TRACE", send: `TRACE / HTTP/1.1\r\nHost: a\r\n${closing}\r\n`, told: "405 method_not_allowed" },
  {
    what: "CONNECT",
    send: "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    told: "405 method_not_allowed",
    ends: true,
  },
  {
    what: "an upgrade to h2c",
    send: get("/x", "Host: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
    told: "200",
    reaches: ["GET /x"],
    fields: { upgrade: [], "http2-settings": [], connection: ["keep-alive"] },
  },
  {
    what: "an upgrade to a WebSocket of another version, where none is",
    send: get("/x", `Host: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\n`),
    told: "501 upgrade_unsupported",
  },
];

export const requestLines: readonly Row[] = [...lines, ...hosts, ...others];
