// What a service may say that is no reply, or not the one that was asked for.

export interface UpstreamRow {
  readonly what: string;
  /** What the origin says, as latin1. */
  readonly says: string;
  readonly after?: "end" | "reset";
  /** As in other tables; `cut off` where the head was out, and the client sees that the rest is missing. */
  readonly told: string;
}

const broken = "502 upstream_invalid";
const ok = (fields: string, body = ""): string => `HTTP/1.1 200 OK\r\n${fields}\r\n${body}`;
const chunked = (chunks: string): string => ok("Transfer-Encoding: chunked\r\n", chunks);
const poison = ok("Content-Length: 6\r\nX-Got: poison\r\n", "poison");

export const upstream: readonly UpstreamRow[] = [
  { what: "both lengths", says: ok("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), told: broken },
  { what: "two lengths", says: ok("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), told: broken },
  { what: "lengths in a list", says: ok("Content-Length: 5, 5\r\n", "hello"), told: broken },
  { what: "a signed length", says: ok("Content-Length: +5\r\n", "hello"), told: broken },
  { what: "another coding", says: ok("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), told: broken },
  { what: "line feeds alone", says: "HTTP/1.1 200 OK\nContent-Length: 0\n\n", told: broken },
  { what: "a folded header", says: ok("A: b\r\n c\r\nContent-Length: 0\r\n"), told: broken },
  { what: "a null in a value", says: ok("A: b\0c\r\nContent-Length: 0\r\n"), told: broken },
  { what: "status 099", says: "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n", told: broken },
  { what: "status 999", says: "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", told: broken },
  {
    what: "101 that nobody asked for",
    says: "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    told: broken,
  },
  { what: "100 to a request without a body", says: "HTTP/1.1 100 Continue\r\n\r\n", told: broken },
  { what: "103 for ever", says: "HTTP/1.1 103 Early\r\n\r\n".repeat(17), told: broken },
  { what: "a head of 64 KiB", says: ok(`A: ${"x".repeat(65_536)}\r\n`), told: broken },
  { what: "a thousand headers", says: ok("A: b\r\n".repeat(1_000)), told: broken },
  { what: "no HTTP", says: "SSH-2.0-OpenSSH_9.2\r\n", told: broken },
  {
    what: "a reply that a request for HTTP/2 gets",
    says: "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    told: broken,
  },
  { what: "half a head", says: "HTTP/1.1 200 OK\r\nContent-Le", after: "end", told: "502 upstream_reset" },
  { what: "nothing at all", says: "", after: "end", told: "502 upstream_reset" },
  { what: "a reset in the place of a reply", says: "", after: "reset", told: "502 upstream_reset" },
  { what: "less than its length", says: ok("Content-Length: 10\r\n", "half"), after: "end", told: "cut off" },
  { what: "chunks without the last", says: chunked("4\r\nhalf\r\n"), after: "end", told: "cut off" },
  { what: "half a chunk", says: chunked("8\r\nhalf"), after: "reset", told: "cut off" },
  { what: "a chunk with a malformed size", says: chunked("4\r\nhalf\r\nzz\r\n"), told: "cut off" },
  { what: "a chunk longer than its size", says: chunked("1\r\nab\r\n0\r\n\r\n"), told: "cut off" },
  { what: "204 with a body", says: "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison", told: "204" },
  { what: "304 with a body", says: `HTTP/1.1 304 Not Modified\r\n\r\n${poison}`, told: "304" },
  { what: "a second reply behind the first", says: `${ok("Content-Length: 2\r\n", "ok")}${poison}`, told: "200" },
  { what: "a second reply behind chunks", says: `${chunked("2\r\nok\r\n0\r\n\r\n")}${poison}`, told: "200" },
  { what: "more than its length", says: ok("Content-Length: 2\r\n", "ok and more"), told: "200" },
];
