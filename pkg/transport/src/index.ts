export { type FieldFault, RequestError, TransportError, type TransportErrorCode } from "./errors.ts";
export { listen, type ListenOptions, toListenError } from "./listen.ts";
export { createOpsHandler, type OpsHandler, type OpsOptions, opsPaths } from "./ops/handler.ts";
export { opsHandler, type OpsListener, opsListener, opsModule, opsSettings } from "./ops/module.ts";
export { type Problem, problemContentType, type ProblemOptions, toProblem } from "./problem.ts";
export { fromHttpStatus, isServerFault, toConnectCode, toGrpcCode, toHttpStatus } from "./status.ts";
