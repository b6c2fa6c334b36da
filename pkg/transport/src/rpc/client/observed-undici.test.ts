// A client that is no `fetch`, as docs/clients.md has it: undici by itself.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type RequestListener } from "node:http";
import { describe, it } from "node:test";
import { createMetrics } from "@plinth/kernel";
import { Pool } from "undici";
import { observeHttpClient } from "../../http/client-metrics.ts";
import { RecordingTracing } from "../../testing/recording-tracing.ts";

async function serving(handle: RequestListener): Promise<{ readonly origin: string } & AsyncDisposable> {
  const server = createServer(handle).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return {
    origin: `http://127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      if (server.listening) server.close();
    },
  };
}

interface Asked {
  readonly statuses: readonly string[];
  readonly failures: readonly unknown[];
  readonly seen: readonly IncomingHttpHeaders[];
}

/** Asks once, with all that observes it. */
async function asked(handle: RequestListener, signal?: AbortSignal, isGone = false): Promise<Asked> {
  const seen: IncomingHttpHeaders[] = [];
  await using server = await serving((request, response) => {
    seen.push(request.headers);
    handle(request, response);
  });
  if (isGone) await server[Symbol.asyncDispose]();
  const [metrics, tracing] = [createMetrics(), new RecordingTracing()];
  const begin = observeHttpClient({ metrics, peer: "billing", tracing });
  await using stack = new AsyncDisposableStack();
  const pool = stack.adopt(new Pool(server.origin), (own) => own.destroy());
  const request = begin("GET", new URL("/bills", server.origin));
  try {
    const reply = await pool.request({
      method: "GET",
      path: "/bills",
      headers: request.headers,
      signal: signal ?? null,
    });
    request.replied(reply.statusCode);
    await reply.body.dump();
  } catch (error) {
    request.failed(undefined, error);
  }
  const { body } = await metrics.expose();
  const [span, ...others] = tracing.spans;
  assert.deepEqual([span?.ends, others.length], [1, 0]);
  assert.match(body, /http_client_active_requests\{peer="billing"\} 0/);
  return {
    statuses: [...body.matchAll(/^http_client_request_duration_seconds_count\{.*status="(\w+)"\} 1$/gm)].map(
      ([, status = ""]) => status,
    ),
    failures: [span?.failure],
    seen,
  };
}

describe("observeHttpClient, for undici", () => {
  it("counts a reply, and gives what is to be sent", async () => {
    const { statuses, failures, seen } = await asked((_request, response) => response.end("x"));
    assert.deepEqual([statuses, failures], [["200"], [undefined]]);
    assert.match(String(seen[0]?.["traceparent"]), /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  });

  const failures: Readonly<Record<string, () => Promise<Asked>>> = {
    reset: () => asked((request) => request.socket.destroy()),
    unreachable: () => asked(() => {}, undefined, true),
    timeout: () => asked(() => {}, AbortSignal.timeout(50)),
    cancelled: () => {
      const controller = new AbortController();
      return asked(() => controller.abort(), controller.signal);
    },
  };
  for (const [outcome, ask] of Object.entries(failures)) {
    it(`tells by the error that a request was ${outcome}`, async () => {
      const { statuses, failures: told } = await ask();
      assert.deepEqual([statuses, told], [[outcome], [outcome]]);
    });
  }
});
