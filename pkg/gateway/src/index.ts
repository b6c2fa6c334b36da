export type { Gateway, GatewayOptions, GatewayState } from "./contract.ts";
export { gatewayPrimaryModuleOf } from "./workers/primary-module.ts";
export { type GatewayWorkersOptions, gatewayWorkersOf } from "./workers/count.ts";
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
export type { PluginAnswer, PluginReplyInit } from "./plugins/answer.ts";
export {
  definePlugin,
  type GatewayPlugin,
  type PluginDefinition,
  type PluginHooks,
  type PluginReason,
  type PluginStage,
  type PluginTools,
  type PluginVerdict,
} from "./plugins/define.ts";
export type { PluginReply } from "./plugins/reply-view.ts";
export type { PluginRequest } from "./plugins/request-view.ts";
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
