export type { Gateway, GatewayOptions, GatewayState } from "./contract.ts";
export { createGateway } from "./gateway.ts";
export type { Revocation, Revocations } from "@plinth/transport/jwt";
export { gateway, gatewayModule, gatewayModuleOf } from "./module.ts";
export { checkGatewayDocument, type DocumentCheck } from "./check.ts";
export { type ExplainedRequest, type Explanation, explainRequest } from "./explain/explain.ts";
export { gatewayOpsModule } from "./explain/ops.ts";
export { readGatewayDocument } from "./config/document.ts";
export { gatewayDocument, type GatewayDocument } from "./config/schema.ts";
export { GatewayConfigError, GatewayError, type GatewayErrorCode } from "./errors.ts";
export { gatewaySettings, type GatewaySettings } from "./options.ts";
export { type Reason, type ReasonEntry, reasons } from "./reasons.ts";
export { canonicalPath } from "./path.ts";
export type {
  FailureKind,
  Upstream,
  UpstreamCall,
  UpstreamFactory,
  UpstreamFailure,
  UpstreamHandlers,
  UpstreamOptions,
  UpstreamRequest,
} from "./upstream/upstream.ts";
