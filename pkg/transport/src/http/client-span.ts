import type { Span, Tracing } from "@plinth/kernel";

export interface HttpClientSpanOptions {
  /** As it was given. */
  readonly given: string;
  /** As it stands in labels. */
  readonly method: string;
  readonly url: string | URL | undefined;
  readonly peer: string;
}

const maxText = 256;
const maxUrl = 1_024;

/**
 * The span of a request to somebody else; undefined where nobody makes spans.
 * @see https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client
 */
export function startHttpClientSpan(
  tracing: Tracing | undefined,
  { given, method, url, peer }: HttpClientSpanOptions,
): Span | undefined {
  const span = tracing?.startSpan(method === "_OTHER" ? "HTTP" : method, { kind: "client" });
  if (span?.sampled === true) {
    const target = url === undefined ? undefined : URL.parse(url);
    span.setAttributes({
      "http.request.method": method,
      "http.request.method_original": method === given ? undefined : given.slice(0, maxText),
      "server.address": target?.hostname,
      "server.port": target ? portOf(target) : undefined,
      "url.full": target ? shownUrl(target) : undefined,
      "plinth.peer": peer,
    });
  }
  return span;
}

/** A reply has come: 400 and above are failures of what was asked for. */
export function endHttpClientSpan(span: Span | undefined, status: number): void {
  if (span === undefined) return;
  if (span.sampled) {
    span.setAttribute("http.response.status_code", status);
    if (status >= 400) span.setFailed(String(status));
  }
  span.end();
}

/** No reply has come. @param outcome - As in the metrics. */
export function failHttpClientSpan(span: Span | undefined, outcome: string, error: unknown): void {
  if (span === undefined) return;
  if (span.sampled) {
    if (error !== undefined) span.fail(error);
    span.setFailed(outcome);
  }
  span.end();
}

function portOf({ port, protocol }: URL): number {
  if (port !== "") return Number(port);
  return protocol === "https:" ? 443 : 80;
}

/** Without user, password, query and fragment, which may hold secrets. */
function shownUrl({ origin, pathname }: URL): string {
  return `${origin}${pathname}`.slice(0, maxUrl);
}
