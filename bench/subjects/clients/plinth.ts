// Plinth's client of a service with everything on: found by a registry, balanced, deadline, retries within a budget, breaker, metrics, and
// spans of 1 % of the requests that it is called in.
import * as api from "@opentelemetry/api";
import { TracerProvider } from "@opentelemetry/sdk-trace";
import { createMetrics, createTracing, runInContext, type Span } from "@plinth/kernel";
import { createMemoryRegistry } from "@plinth/registry";
import { createBalancedChannel } from "@plinth/services";
import { createRpcClient } from "@plinth/transport";
import { GreeterService } from "../../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";
import { required } from "../ready.ts";
import { measureCalls } from "./measure.ts";

const transport = required("TRANSPORT") === "grpc" ? "grpc" : "http";
const registry = createMemoryRegistry();
await registry.register({
  service: "greeter",
  id: "greeter-1",
  host: "127.0.0.1",
  ports: { [transport]: Number(required(transport === "grpc" ? "GRPC_PORT" : "HTTP_PORT")) },
});
const provider = new TracerProvider();
const tracing = createTracing({
  sink: {
    api,
    getTracer: (name) => provider.getTracer(name),
    isSampled: (caller) => caller?.sampled ?? false,
    useTraceId: () => {},
  },
});
const channel = await createBalancedChannel({
  service: "greeter",
  find: { registry },
  transport,
  metrics: createMetrics(),
  tracing,
});
const client = createRpcClient(GreeterService, { channel });

/** 100 requests that calls are made in, of which one is sampled. */
const parent = { traceId: "1".repeat(32), spanId: "2".repeat(16) };
const spans: readonly Span[] = Array.from({ length: 100 }, (_, index) =>
  tracing.startSpan("request", { kind: "server", parent: { ...parent, sampled: index === 0 } }),
);
let turn = 0;

await measureCalls((name) =>
  runInContext({ span: spans[turn++ % spans.length] }, async () => (await client.greet({ name })).message),
);
await channel.close();
await registry.close();
