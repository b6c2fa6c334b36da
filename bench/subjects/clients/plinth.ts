// Plinth's client of a service with everything on: found by a registry, balanced, deadline, retries within a budget, breaker, metrics, and
// spans of 1 % of the requests that it is called in.
import { createMetrics, runInContext } from "@plinth/kernel";
import { createMemoryRegistry } from "@plinth/registry";
import { createBalancedChannel } from "@plinth/services";
import { createRpcClient } from "@plinth/transport";
import { GreeterService } from "../../../examples/platform/gen/plinth/examples/greeter/v1/greeter_pb.ts";
import { nextSpan, tracing } from "../one-percent.ts";
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
const channel = await createBalancedChannel({
  service: "greeter",
  find: { registry },
  transport,
  metrics: createMetrics(),
  tracing,
});
const client = createRpcClient(GreeterService, { channel });

await measureCalls((name) => runInContext({ span: nextSpan() }, async () => (await client.greet({ name })).message));
await channel.close();
await registry.close();
