import { connectionTokens, isForClient, isTrailerForClient } from "./names.ts";

/** Has browsers come by TLS alone. RFC 6797, 6.1. */
export const hstsHeader = "strict-transport-security";

/** Headers of a service's reply by lower-case name; several lines of one name are a list. */
export type ReplyHeaders = Readonly<Record<string, string | string[] | undefined>>;

/**
 * The headers of a service's reply that reach the client, name and value by turns: those of its connection do not, nor a
 * length with 204, which has no body.
 */
export function toClientHeaders(status: number, headers: ReplyHeaders): string[] {
  const { connection } = headers;
  const tokens =
    connection === undefined
      ? []
      : connectionTokens(typeof connection === "string" ? connection : connection.join(","));
  const result: string[] = [];
  for (const name in headers) {
    if (status === 204 && name === "content-length") continue;
    if (!isForClient(name) || (tokens.length > 0 && tokens.includes(name))) continue;
    const value = headers[name];
    if (typeof value === "string") result.push(name, value);
    else if (value !== undefined) for (const line of value) result.push(name, line);
  }
  return result;
}

/** Those fields behind the body of a service's reply that reach the client, one line each. */
export function toClientTrailers(trailers: ReplyHeaders): [string, string][] {
  const result: [string, string][] = [];
  for (const name in trailers) {
    if (!isTrailerForClient(name)) continue;
    const value = trailers[name] ?? [];
    for (const line of typeof value === "string" ? [value] : value) {
      if (/^[\t -~\u0080-\u00ff]*$/.test(line)) result.push([name, line]);
    }
  }
  return result;
}
