// What a client says and the log, the metrics or another request must not take for their own.
import { get } from "../row.ts";

export interface LogRow {
  readonly what: string;
  /** As latin1, of one request. */
  readonly send: string;
  /** Of its reply. */
  readonly status: number;
  /** Fields of its line. */
  readonly line?: Readonly<Record<string, unknown>>;
}

/** What stands in no log, wherever a client says it. */
export const secret = "s3cret";

const agent = (what: string, value: string, logged: string): LogRow => ({
  what: `a user agent: ${what}`,
  send: get("/x", `Host: a\r\nUser-Agent: ${value}\r\n`),
  status: 200,
  line: { user_agent: logged, path: "/x", status: 200 },
});
const refused = (what: string, send: string, status = 400): LogRow => ({ what, send, status, line: { status } });
const target = (path: string, logged: string, status = 200): LogRow => ({
  what: `a path: ${path.slice(0, 40)}`,
  send: get(path),
  status,
  line: { path: logged, status },
});
const hidden = (what: string, send: string, status = 200): LogRow => ({ what: `${what} with a secret`, send, status });

export const logs: readonly LogRow[] = [
  agent("fake JSON", '","level":"fatal","message":"forged', '","level":"fatal","message":"forged'),
  agent("a backslash at its end", "a\\", "a\\"),
  agent("escapes written out", "\\u000a\\n%0a", "\\u000a\\n%0a"),
  agent("the bytes of a line separator", "a\xe2\x80\xa8b", "a\xe2\x80\xa8b"),
  agent("a control sequence in one byte", "a\x9b2Jb", "a\x9b2Jb"),
  agent("no UTF-8", "\xff\xfe", "\xff\xfe"),
  agent("ten thousand characters", "u".repeat(10_000), "u".repeat(256)),
  agent("a template", "${jndi:ldap://a}{{7*7}}%s", "${jndi:ldap://a}{{7*7}}%s"),
  refused("a user agent with an escape", get("/x", "Host: a\r\nUser-Agent: \x1b[2J\r\n")),
  refused("a user agent with a line feed", get("/x", 'Host: a\r\nUser-Agent: a\n{"forged":1}\r\n')),
  target('/x","status":500,"a":"', "/x%22,%22status%22:500,%22a%22:%22"),
  target("/%0a%7B%22forged%22:1%7D", "", 400),
  target("/%1b%5b2J", "", 400),
  target("/%E2%80%A8x", "/%E2%80%A8x"),
  target(`/${"p".repeat(8_000)}`, `/${"p".repeat(255)}`),
  target("/__proto__/constructor", "/__proto__/constructor"),
  {
    what: "a request id with more than an id",
    send: get("/x", 'Host: a\r\nX-Request-Id: a","forged":"1\r\n'),
    status: 200,
    line: { path: "/x" },
  },
  {
    what: "an address of its own",
    send: get("/x", 'Host: a\r\nX-Forwarded-For: 1.2.3.4","forged":"1\r\nForwarded: for=1.2.3.4\r\n'),
    status: 200,
    line: { client: "127.0.0.1" },
  },
  {
    what: "headers with names of objects",
    send: get("/x", "Host: a\r\n__proto__: 1\r\nconstructor: 1\r\nprototype: 1\r\n"),
    status: 200,
    line: { path: "/x" },
  },
  hidden("a query", get(`/x?access_token=${secret}&__proto__[admin]=1`)),
  hidden("Authorization", get("/x", `Host: a\r\nAuthorization: Bearer ${secret}\r\n`)),
  hidden("a token that is refused", get("/admin", `Host: a\r\nAuthorization: Bearer ${secret}.a.b\r\n`), 401),
  hidden("a cookie", get("/x", `Host: a\r\nCookie: sid=${secret}\r\n`)),
  hidden("a header of its own", get("/x", `Host: a\r\nX-Api-Key: ${secret}\r\nReferer: http://a/?t=${secret}\r\n`)),
  hidden("two Authorization headers", get("/x", `Host: a\r\nAuthorization: ${secret}\r\nAuthorization: b\r\n`), 400),
  hidden("a malformed header", get("/x", `Host: a\r\nAuthorization : ${secret}\r\n`), 400),
  hidden("a host with a password", get("/x", `Host: user:${secret}@a\r\n`), 400),
  hidden("a target with a password", get(`http://user:${secret}@a/x`), 400),
  hidden("an upgrade", get("/x", `Host: a\r\nConnection: close\r\nUpgrade: ${secret}\r\n`)),
  ...["PROPFIND", "MKCOL", "BREW"].map((method): LogRow => ({
    what: `the method ${method}`,
    send: get("/x").replace("GET", method),
    status: method === "BREW" ? 400 : 200,
  })),
  ...["a.example", "b.example"].map((host): LogRow => ({
    what: `the host ${host}`,
    send: get("/x", `Host: ${host}\r\n`),
    status: 200,
  })),
];
