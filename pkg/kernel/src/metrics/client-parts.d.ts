// The parts of the Prometheus client that are used, by their own paths. Its index loads five times as much: a push gateway with
// HTTPS, cluster and worker aggregation, summaries, and with them @opentelemetry/api.
declare module "@prometheus-io/client/lib/registry.js" {
  import { Registry } from "@prometheus-io/client";
  export = Registry;
}
declare module "@prometheus-io/client/lib/counter.js" {
  import { Counter } from "@prometheus-io/client";
  export = Counter;
}
declare module "@prometheus-io/client/lib/gauge.js" {
  import { Gauge } from "@prometheus-io/client";
  export = Gauge;
}
declare module "@prometheus-io/client/lib/histogram.js" {
  import { Histogram } from "@prometheus-io/client";
  export = Histogram;
}
