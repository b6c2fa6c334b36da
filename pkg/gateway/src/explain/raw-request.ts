import type { readRequestHead } from "../headers/request-head.ts";
import type { ExplainedRequest } from "./explain.ts";

/** A request as it would come from the parser. */
export function toRaw({
  url,
  headers = [],
}: ExplainedRequest): Parameters<typeof readRequestHead>[0] & { rawHeaders: string[] } {
  const [, authority, rest = url] = /^https?:\/\/([^/?#]*)(.*)$/is.exec(url) ?? [];
  const hasHost = headers.some(([name]) => name.toLowerCase() === "host");
  const rawHeaders = [...(hasHost ? [] : ["host", authority ?? "localhost"]), ...headers.flat()];
  const target = authority !== undefined && !rest.startsWith("/") ? `/${rest}` : rest;
  return { url: target, httpVersionMajor: 1, httpVersionMinor: 1, rawHeaders };
}
