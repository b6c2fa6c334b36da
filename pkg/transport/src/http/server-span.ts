import type { IncomingHttpHeaders } from "node:http";
import { parseTraceContext, type SpanAttributes, type SpanContext } from "@plinth/kernel";
import type { HttpExchange } from "./exchange.ts";

/** Longer texts of a request are cut in attributes, in characters. */
const maxText = 256;

/** The span that the caller's headers name; null where a trace begins here. */
export function callerIn(
  { tracestate }: IncomingHttpHeaders,
  traceparent: string,
  isTrusted: boolean,
): SpanContext | null {
  return parseTraceContext(traceparent, typeof tracestate === "string" ? tracestate : undefined, isTrusted) ?? null;
}

/**
 * Names the server's span of a finished exchange, describes it and ends it. It has failed where the server has: from status 500 on.
 * @see https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server
 */
export function endServerSpan(exchange: HttpExchange, status: number): void {
  const { span, error, method, route } = exchange;
  if (span.sampled) {
    const verb = method === "_OTHER" ? "HTTP" : method;
    span.rename(route === "unmatched" ? verb : `${verb} ${route}`);
    span.setAttributes(attributesOf(exchange, status));
    if (status >= 500) {
      if (error === undefined) span.setFailed(String(status));
      else span.fail(error);
    }
  }
  span.end();
}

function attributesOf(
  { request, method, route, isSecure, clientAddress, forwarded }: HttpExchange,
  status: number,
): SpanAttributes {
  const { headers, httpVersion, url } = request;
  const host = forwarded?.host ?? headers.host;
  const server = host === undefined ? undefined : hostOf(host);
  return {
    "http.request.method": method,
    "http.request.method_original": method === "_OTHER" ? request.method?.slice(0, maxText) : undefined,
    "http.route": route === "unmatched" ? undefined : route,
    "http.response.status_code": status,
    "url.scheme": isSecure ? "https" : "http",
    "url.path": pathOf(url),
    "server.address": server?.address,
    "server.port": server?.port,
    "client.address": clientAddress,
    "network.protocol.version": httpVersion === "2.0" ? "2" : httpVersion,
    "user_agent.original": headers["user-agent"]?.slice(0, maxText),
  };
}

/** Name and port of a `host` header, which holds what the caller likes. */
export function hostOf(host: string): { readonly address: string; readonly port: number | undefined } {
  const [, address = host, port] = /^(\[[0-9a-fA-F:.]+\]|[^:]*)(?::(\d{1,5}))?$/.exec(host.slice(0, maxText)) ?? [];
  return { address: address.slice(0, maxText), port: port === undefined ? undefined : Number(port) };
}

/** Without the query, which may hold secrets, nor the host and user of an absolute form; of bounded length. */
export function pathOf(url = ""): string {
  const start = url.startsWith("/") ? 0 : Math.max(0, url.indexOf("/", url.indexOf("//") + 2));
  const end = url.indexOf("?", start);
  return url.slice(start, Math.min(end < 0 ? url.length : end, start + maxText));
}
