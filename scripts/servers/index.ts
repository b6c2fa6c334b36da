// Real servers for tests and benches.
export { type ServerProcess, startServerProcess } from "./child.ts";
export { type ConsulAgent, type ConsulOptions, startConsul } from "./consul.ts";
export { ServerError, type ServerErrorCode } from "./errors.ts";
export { type FindServerOptions, type Server, type ServerName, findServer, serverNames } from "./find.ts";
export { findFreePorts } from "./ports.ts";
export { type Prometheus, type PrometheusOptions, startPrometheus } from "./prometheus.ts";
export { lintMetrics } from "./promtool.ts";
export { type Redis, startRedis } from "./redis.ts";
