import { connectionTokens, isForClient, isTrailerForClient } from "./names.ts";

/** Has browsers come by TLS alone. RFC 6797, 6.1. */
export const hstsHeader = "strict-transport-security";

/** Headers of a service's reply in their order: name, in lower case, and value by turns. */
export type ReplyHeaders = readonly string[];

/** The value of the first line of this name. @param name - Lower case. */
export function replyHeader(headers: ReplyHeaders, name: string): string | undefined {
  for (let at = 0; at < headers.length; at += 2) if (headers[at] === name) return headers[at + 1];
  return undefined;
}

/**
 * The headers of a service's reply that reach the client, name and value by turns: those of its connection do not, nor a
 * length with 204, which has no body.
 */
export function toClientHeaders(status: number, headers: ReplyHeaders): string[] {
  const result: string[] = [];
  let connection = "";
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] ?? "";
    const value = headers[at + 1] ?? "";
    if (isForClient(name)) {
      if (status !== 204 || name !== "content-length") result.push(name, value);
    } else if (name === "connection") {
      connection = connection === "" ? value : `${connection},${value}`;
    }
  }
  const tokens = connection === "" ? none : connectionTokens(connection);
  return tokens.length === 0 ? result : without(result, tokens);
}

/** Those fields behind the body of a service's reply that reach the client, one line each. */
export function toClientTrailers(trailers: ReplyHeaders): [string, string][] {
  const result: [string, string][] = [];
  for (let at = 0; at < trailers.length; at += 2) {
    const [name, value] = [trailers[at] ?? "", trailers[at + 1] ?? ""];
    if (isTrailerForClient(name) && /^[\t -~\u0080-\u00ff]*$/.test(value)) result.push([name, value]);
  }
  return result;
}

const none: readonly string[] = [];

function without(headers: readonly string[], names: readonly string[]): string[] {
  const kept: string[] = [];
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] ?? "";
    if (!names.includes(name)) kept.push(name, headers[at + 1] ?? "");
  }
  return kept;
}
