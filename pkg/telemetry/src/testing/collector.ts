import { createServer } from "node:http";
import { z } from "zod";

/** A span as a collector sees it. */
export interface CollectedSpan {
  readonly service: string;
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for a root. */
  readonly parentSpanId: string;
  /** OTLP number: 1 internal, 2 server, 3 client. */
  readonly kind: number;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly failed: boolean;
  /** What the status says, for people. Empty where it says nothing. */
  readonly statusMessage: string;
  readonly events: readonly CollectedEvent[];
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
}

/** What happened within a span, for instance an `exception`. */
export interface CollectedEvent {
  readonly name: string;
  readonly attributes: Readonly<Record<string, unknown>>;
}

/** An OTLP/HTTP collector for tests: it keeps what it gets in memory. */
export interface Collector extends AsyncDisposable {
  /** For `OTEL_EXPORTER_OTLP_ENDPOINT`. */
  readonly url: string;
  readonly spans: readonly CollectedSpan[];
  /** Resolves with the first span that fits, now or later; rejects after `timeoutMs` (default 10_000) with what came instead. */
  waitFor(predicate: (span: CollectedSpan) => boolean, timeoutMs?: number): Promise<CollectedSpan>;
  close(): Promise<void>;
}

/** @param options.port - Default 0: any free one. */
export async function startCollector({ port = 0 }: { readonly port?: number } = {}): Promise<Collector> {
  const spans: CollectedSpan[] = [];
  const listeners = new Set<() => void>();
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      if (request.url === "/v1/traces") spans.push(...spansOf(Buffer.concat(chunks).toString()));
      response.writeHead(request.url === "/v1/traces" ? 200 : 404, { "content-type": "application/json" }).end("{}");
      for (const listener of listeners) listener();
    });
  });
  server.listen(port, "127.0.0.1");
  await new Promise((resolve, reject) => server.once("listening", resolve).once("error", reject));
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("the collector has no port");
  return {
    url: `http://127.0.0.1:${address.port}`,
    spans,
    waitFor(predicate, timeoutMs = 10_000) {
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          listeners.delete(look);
          const seen = spans.map(({ service, name }) => `${service}: ${name}`).join(", ");
          reject(new Error(`no such span within ${timeoutMs} ms; there are: ${seen || "none"}`));
        }, timeoutMs);
        const look = (): void => {
          const found = spans.find(predicate);
          if (!found) return;
          clearTimeout(timer);
          listeners.delete(look);
          resolve(found);
        };
        listeners.add(look);
        look();
      });
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

const attributes = z.array(z.object({ key: z.string(), value: z.record(z.string(), z.unknown()) })).default([]);

/** The parts of OTLP JSON that are read. @see https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding */
const otlpRequest = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes }),
      scopeSpans: z.array(
        z.object({
          spans: z.array(
            z.object({
              name: z.string(),
              traceId: z.string(),
              spanId: z.string(),
              parentSpanId: z.string().default(""),
              kind: z.number(),
              attributes,
              status: z.object({ code: z.number().default(0), message: z.string().default("") }).prefault({}),
              events: z.array(z.object({ name: z.string(), attributes })).default([]),
              links: z.array(z.object({ traceId: z.string(), spanId: z.string() })).default([]),
            }),
          ),
        }),
      ),
    }),
  ),
});

function spansOf(body: string): CollectedSpan[] {
  return otlpRequest.parse(JSON.parse(body)).resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const service = String(toRecord(resource.attributes)["service.name"]);
    return scopeSpans.flatMap(({ spans }) =>
      spans.map(({ attributes: facts, status, events, ...span }) => ({
        ...span,
        service,
        attributes: toRecord(facts),
        failed: status.code === 2,
        statusMessage: status.message,
        events: events.map((event) => ({ name: event.name, attributes: toRecord(event.attributes) })),
      })),
    );
  });
}

function toRecord(facts: z.output<typeof attributes>): Record<string, unknown> {
  return Object.fromEntries(facts.map(({ key, value }) => [key, Object.values(value)[0]]));
}
