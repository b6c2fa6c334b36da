// Ordinary requests, the same each time, and an origin whose replies hang on the request alone.
import { createHash } from "node:crypto";
import {
  type Agent,
  createServer,
  type IncomingMessage,
  request as startRequest,
  type ServerResponse,
} from "node:http";
import { once } from "node:events";
import { gzipSync } from "node:zlib";

export interface Case {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly string[];
  /** Undefined where there is none. */
  readonly body: Buffer | undefined;
  readonly isChunked: boolean;
}

/** A message as its reader has it: the body by its hash and length. */
export interface Message {
  readonly start: string;
  /** `name: value`, lower-case names, sorted; lines of one name in their order. */
  readonly fields: readonly string[];
  readonly body: string;
}

/** xorshift32: the same numbers from the same seed. */
function numbersFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const methods = ["GET", "GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const;
const segments = [
  "a",
  "users",
  "42",
  "caf%C3%A9",
  "x.json",
  "a-b_c~d",
  "%20",
  "a:b@c",
  "a,b;c=d",
  "(x)",
  "%E2%82%AC",
  "$1",
  "a+b",
] as const;
const queries = ["", "", "?", "?a=1", "?a=1&a=2", "?q=%20x%2Fy", "?a[]=b", "?x=/../y", "?%C3%A9=1", "?a=b?c"] as const;
const optional: readonly (readonly [name: string, value: string])[] = [
  ["Accept", "text/html, */*;q=0.1"],
  ["Accept-Encoding", "gzip, br"],
  ["Accept-Language", "de-DE"],
  ["User-Agent", "conformance/1 (x; y) z"],
  ["Referer", "http://a/b?c"],
  ["Origin", "http://a"],
  ["Cookie", 'a=1; b="2"'],
  ["Range", "bytes=0-99"],
  ["If-None-Match", '"abc", W/"d"'],
  ["If-Match", "*"],
  ["If-Modified-Since", "Mon, 23 Nov 2026 00:00:00 GMT"],
  ["If-Range", '"abc"'],
  ["Cache-Control", "no-cache"],
  ["X-Empty", ""],
  ["X-Own", "caf\u00e9 \t x"],
  ["X-Long", "x".repeat(3_000)],
  ["X-SpELLing", "Value"],
  ["Authorization", "Basic YTpi"],
];

export function makeCases(count: number, seed: number): readonly Case[] {
  const below = numbersFrom(seed);
  const oneOf = <T>(list: readonly [T, ...T[]]): T => list[below(list.length)] ?? list[0];
  return Array.from({ length: count }, (_none, at) => {
    const method = oneOf(methods);
    const path = Array.from({ length: below(4) }, () => oneOf(segments)).join("/");
    const headers = optional.flatMap(([name, value]) => (below(6) === 0 ? [name, value] : []));
    if (below(10) === 0) headers.push("X-Twice", "1", "X-Twice", "2");
    const hasBody = method === "POST" || method === "PUT" || method === "PATCH";
    const size = oneOf([0, 1, 5, 1_000, 70_000] as const);
    const body = hasBody ? Buffer.alloc(size, `body ${at} `) : undefined;
    if (body) headers.push("Content-Type", "application/octet-stream");
    return {
      method,
      target: `/${path}${oneOf(queries)}`,
      headers: [...headers, "X-Case", `${at}`],
      body,
      isChunked: hasBody && below(2) === 0,
    };
  });
}

export interface RecordingOrigin extends AsyncDisposable {
  readonly port: number;
  /** What came, by the number of the case. */
  readonly got: Map<string, Message>;
}

export async function recordingOrigin(): Promise<RecordingOrigin> {
  const got = new Map<string, Message>();
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    void bodyOf(request).then((body) => {
      const number = String(request.headers["x-case"]);
      got.set(number, toMessage(`${request.method} ${request.url}`, request.rawHeaders, body));
      reply(Number(number), request, response);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the origin has no port");
  return {
    port: address.port,
    got,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

const date = ["Date", "Mon, 23 Nov 2026 12:00:00 GMT"];
const large = Buffer.alloc(300_000, "large reply ");
const gzipped = gzipSync("content that is gzip'd");

type Reply = readonly [status: number, headers: readonly string[], body?: Buffer | readonly string[]];

/** A body in several pieces has no length. */
const replies: readonly Reply[] = [
  [200, ["Content-Type", "text/plain", "Content-Length", "5"], Buffer.from("hello")],
  [200, ["Content-Type", "text/html"], ["piece one, ", "piece two"]],
  [200, ["Content-Length", "0"]],
  [204, ["X-Own", "a"]],
  [304, ["ETag", '"abc"', "Cache-Control", "max-age=60"]],
  [206, ["Content-Range", "bytes 0-4/100", "Content-Length", "5", "Accept-Ranges", "bytes"], Buffer.from("hello")],
  [200, ["Set-Cookie", "a=1; Path=/", "Set-Cookie", "b=2; HttpOnly", "Content-Length", "2"], Buffer.from("ok")],
  [302, ["Location", "http://elsewhere/x?y#z", "Content-Length", "0"]],
  [308, ["Location", "/other", "Content-Length", "0"]],
  [200, ["Content-Encoding", "gzip", "Vary", "Accept-Encoding", "Content-Length", `${gzipped.length}`], gzipped],
  [200, ["Content-Length", `${large.length}`, "Last-Modified", "Mon, 23 Nov 2026 00:00:00 GMT"], large],
  [
    200,
    ["Content-Type", "application/octet-stream"],
    Array.from({ length: 20 }, (_none, at) => `${at} `.repeat(4_000)),
  ],
  [404, ["Content-Type", "application/problem+json", "Content-Length", "2"], Buffer.from("{}")],
  [500, ["Content-Length", "4"], Buffer.from("oops")],
  [503, ["Retry-After", "1", "Content-Length", "0"]],
  [401, ["WWW-Authenticate", 'Basic realm="x"', "WWW-Authenticate", "Bearer", "Content-Length", "0"]],
  [200, ["Server", "origin/1", "X-Empty", "", "x-CaSe", "Value", "X-Own", "caf\u00e9", "Content-Length", "0"]],
  [201, ["Link", "</a>; rel=x", "Link", "</b>; rel=y", "ETag", 'W/"x"', "Content-Length", "1"], Buffer.from("1")],
];

function reply(at: number, request: IncomingMessage, response: ServerResponse): void {
  const [status, headers, body] = replies[at % replies.length] ?? replies[0] ?? [500, []];
  response.writeHead(status, [...date, ...headers]);
  if (request.method === "HEAD" || body === undefined) response.end();
  else if (Buffer.isBuffer(body)) response.end(body);
  else {
    for (const piece of body.slice(0, -1)) response.write(piece);
    response.end(body.at(-1));
  }
}

/** Sends a case through a proxy on a port. */
export async function send(port: number, agent: Agent, one: Case): Promise<Message> {
  const { method, target, body, isChunked } = one;
  const framing =
    body === undefined ? [] : isChunked ? ["Transfer-Encoding", "chunked"] : ["Content-Length", `${body.length}`];
  const headers = ["Host", "conformance.example:8080", ...one.headers, ...framing];
  const request = startRequest({
    port,
    host: "127.0.0.1",
    method,
    path: target,
    agent,
    headers,
    setDefaultHeaders: false,
  });
  const replied = new Promise<IncomingMessage>((resolve, reject) =>
    request.once("response", resolve).once("error", reject),
  );
  if (isChunked && body && body.length > 1) request.write(body.subarray(0, body.length / 2));
  request.end(isChunked && body && body.length > 1 ? body.subarray(body.length / 2) : body);
  const response = await replied;
  return toMessage(`${response.statusCode}`, response.rawHeaders, await bodyOf(response));
}

async function bodyOf(stream: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of stream) if (Buffer.isBuffer(piece)) pieces.push(piece);
  return Buffer.concat(pieces);
}

function toMessage(start: string, rawHeaders: readonly string[], body: Buffer): Message {
  const fields: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2)
    fields.push(`${rawHeaders[at]?.toLowerCase()}: ${rawHeaders[at + 1]}`);
  const nameOf = (field: string): string => field.slice(0, field.indexOf(":"));
  fields.sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : nameOf(a) > nameOf(b) ? 1 : 0));
  return {
    start,
    fields,
    body: `${body.length} bytes, ${createHash("sha256").update(body).digest("hex").slice(0, 16)}`,
  };
}
