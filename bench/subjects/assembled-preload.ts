// OpenTelemetry as its guide sets it up for a server: loaded by --import ahead of the program, with node:http patched, spans of
// 1 % of the requests sent by OTLP over HTTP, and the context in an AsyncLocalStorage.
import { AsyncLocalStorage } from "node:async_hooks";
import { context, type Context, type ContextManager, propagation, ROOT_CONTEXT, trace } from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { registerInstrumentations } from "@opentelemetry/instrumentation";
import { HttpInstrumentation } from "@opentelemetry/instrumentation-http";
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import { required } from "./ready.ts";

/** The part of @opentelemetry/context-async-hooks that a request needs; it leaves emitters unbound, which spares this peer some work. */
class StorageContext implements ContextManager {
  readonly #storage = new AsyncLocalStorage<Context>();

  active(): Context {
    return this.#storage.getStore() ?? ROOT_CONTEXT;
  }

  with: ContextManager["with"] = (active, fn, self, ...args) => this.#storage.run(active, () => fn.apply(self, args));

  bind<T>(_active: Context, target: T): T {
    return target;
  }

  enable(): this {
    return this;
  }

  disable(): this {
    this.#storage.disable();
    return this;
  }
}

const url = `${required("OTEL_EXPORTER_OTLP_ENDPOINT")}/v1/traces`;
const provider = new TracerProvider({
  sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(0.01) }),
  spanProcessors: [new BatchSpanProcessor({ exporter: new OTLPTraceExporter({ url }) })],
});
context.setGlobalContextManager(new StorageContext());
propagation.setGlobalPropagator(new W3CTraceContextPropagator());
trace.setGlobalTracerProvider(provider);
registerInstrumentations({ instrumentations: [new HttpInstrumentation()] });
process.once("SIGTERM", () => void provider.shutdown());
