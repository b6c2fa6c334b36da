// Real servers for tests and benches.
export { type ConsulAgent, type ConsulOptions, startConsul } from "./consul.ts";
export { ServerError, type ServerErrorCode } from "./errors.ts";
export { type FindServerOptions, type Server, type ServerName, findServer, serverNames } from "./find.ts";
export { findFreePorts } from "./ports.ts";
