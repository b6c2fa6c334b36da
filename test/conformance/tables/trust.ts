// Headers that services believe: what a client says in them counts for nothing, what the gateway says always arrives.
import { get, type Row } from "../row.ts";

const gone = (name: string, value: string, header = name): Row => ({
  what: `${name}: ${value.slice(0, 40)}`,
  send: get("/x", `Host: a\r\n${name}: ${value}\r\n`),
  told: "200",
  reaches: ["GET /x"],
  fields: { [header.toLowerCase()]: [] },
});

const ours = {
  "x-forwarded-for": ["127.0.0.1"],
  "x-forwarded-proto": ["http"],
  "x-forwarded-host": ["a"],
  via: [/^1\.1 plinth-[0-9a-f]{12}$/],
  traceparent: [/^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/],
  "x-request-id": [/^[0-9a-f]{32}$/],
};

const kept = (what: string, headers: string, fields: Row["fields"] = {}): Row => ({
  what,
  send: get("/x", `Host: a\r\n${headers}`),
  told: "200",
  reaches: ["GET /x"],
  fields: { ...ours, ...fields },
});

export const trust: readonly Row[] = [
  ...[
    "Plinth-Subject",
    "plinth-subject",
    "PLINTH-SCOPES",
    "Plinth-Issuer",
    "X-Plinth-Anything",
    "Plinth-Timeout-Of-Mine",
  ].map((name) => gone(name, "root")),
  gone("Plinth_Subject", "root"),
  gone("X_Forwarded_For", "127.0.0.1"),
  gone("X_User_Id", "root"),
  ...[
    "Forwarded",
    "X-Real-IP",
    "X-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "Fastly-Client-IP",
    "X-Cluster-Client-IP",
    "X-Original-Host",
    "X-Forwarded-Prefix",
    "X-Forwarded-Port",
    "X-Forwarded-User",
  ].map((name) => gone(name, "127.0.0.1")),
  ...["Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "TE", "Trailer", "HTTP2-Settings", "Alt-Svc"].map(
    (name) => gone(name, "x"),
  ),
  ...["tracestate", "baggage"].map((name) => gone(name, "a=b")),
  {
    ...gone("Plinth-Subject", "root, twice"),
    send: get("/x", "Host: a\r\nPlinth-Subject: root\r\nplinth-subject: root\r\n"),
  },
  kept("X-Forwarded-For, three times", "X-Forwarded-For: 127.0.0.1, 10.0.0.1, unknown\r\n"),
  kept(
    "X-Forwarded-For, in two lines, with a port and a zone",
    "X-Forwarded-For: 10.0.0.1:80\r\nX-Forwarded-For: [fe80::1%25eth0]\r\n",
  ),
  kept(
    "X-Forwarded-For, two hundred times",
    `X-Forwarded-For: ${Array.from({ length: 200 }, () => "10.0.0.1").join(", ")}\r\n`,
  ),
  kept("X-Forwarded-Proto and X-Forwarded-Host", "X-Forwarded-Proto: https,http\r\nX-Forwarded-Host: evil\r\n"),
  kept("a request id of its own", "X-Request-Id: mine-mine-mine\r\n"),
  kept("a trace of its own", "traceparent: 00-11111111111111111111111111111111-2222222222222222-01\r\n", {
    traceparent: [/^00-(?!1{32})/],
  }),
  kept("a trace of zeros", "traceparent: 00-00000000000000000000000000000000-0000000000000000-01\r\n", {
    traceparent: [/^00-(?!0{32})/],
  }),
  kept(
    "Connection that names what the gateway adds",
    "Connection: keep-alive, X-Forwarded-For, X-Request-Id, Via, traceparent, Host, Plinth-Timeout-Ms\r\n",
    { host: ["a"], "plinth-timeout-ms": [/^\d+$/], connection: ["keep-alive"] },
  ),
  kept("Connection that names a header of the client's", "Connection: X-Own\r\nX-Own: a\r\nX-Other: b\r\n", {
    "x-own": [],
    "x-other": ["b"],
  }),
  kept("Connection in two lines", "Connection: X-Own\r\nconnection: X-Other\r\nX-Own: a\r\nX-Other: b\r\n", {
    "x-own": [],
    "x-other": [],
  }),
  kept("lines of a name, in their order", "Cookie: a=1\r\nCookie: b=2\r\nAccept: x\r\n", {
    cookie: ["a=1", "b=2"],
    accept: ["x"],
  }),
  {
    what: "a body's length that Connection names",
    send: "POST /x HTTP/1.1\r\nHost: a\r\nConnection: Content-Length, Transfer-Encoding\r\nContent-Length: 5\r\n\r\nhello",
    told: "200",
    reaches: ["POST /x"],
    body: "hello",
  },
  {
    what: "two Authorization headers",
    send: get("/guarded", "Host: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n"),
    told: "400 duplicate_authorization",
  },
  {
    what: "an Authorization that Connection names",
    send: get("/guarded", "Host: a\r\nConnection: Authorization\r\nAuthorization: Bearer a\r\n"),
    told: "401 token_invalid",
  },
  {
    what: "a list of tokens",
    send: get("/guarded", "Host: a\r\nAuthorization: Bearer a,b\r\n"),
    told: "401 token_invalid",
  },
  { what: "a token in the query", send: get("/guarded?access_token=a"), told: "401 token_missing" },
  {
    what: "another scheme",
    send: get("/guarded", "Host: a\r\nAuthorization: Basic YTpi\r\n"),
    told: "401 token_missing",
  },
];
