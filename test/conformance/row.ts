/** One input, and the right answer to it whatever stands behind the gateway. */
export interface Row {
  readonly what: string;
  /** Bytes as latin1, sent in turn; a pattern waits until what has come matches. */
  readonly send: string | readonly (string | RegExp)[];
  /** Status of each reply in turn, and behind it the reason of one that is the gateway's own. None where the connection is just ended. */
  readonly told: Told;
  /** Requests that are whole at the origin, `GET /x`. Default: none. */
  readonly reaches?: readonly string[];
  /** One that may reach the origin: without its end, and is broken off then; or whole, where it is what stands behind it that is wrong. */
  readonly mayReach?: string;
  /** The connection ends, though neither the reason nor the request says so. */
  readonly ends?: boolean;
  /** Of the last that reaches the origin: by lower-case name its values, none for one that must not be there. */
  readonly fields?: Readonly<Record<string, readonly (string | RegExp)[]>>;
  /** Of the last that reaches the origin. */
  readonly body?: string;
}

export type Told = string | readonly string[];

export const closing = "Connection: close\r\n";

export function get(target: string, headers = "Host: a\r\n"): string {
  return `GET ${target} HTTP/1.1\r\n${headers}\r\n`;
}

export function post(headers: string, body = "", target = "/"): string {
  return `POST ${target} HTTP/1.1\r\nHost: a\r\n${headers}\r\n${body}`;
}

export function chunked(chunks: string, target = "/"): string {
  return post("Transfer-Encoding: chunked\r\n", chunks, target);
}
