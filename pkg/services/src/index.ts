export type { CallOptions, ServiceClientOptions } from "./calls.ts";
export { type ContractError, ServicesError, type ServicesErrorCode } from "./errors.ts";
export {
  type BindingId,
  bindingId,
  type EventId,
  eventId,
  type Id,
  type RoleId,
  roleId,
  type SessionId,
  sessionId,
  type UserId,
  userId,
} from "./ids.ts";
export type { Page, PageRequest } from "./pages.ts";
export type { ServiceOptions } from "./serve.ts";
export { createIdentityClient } from "./identity/client.ts";
export { type IdentityErrorCode, identityErrors } from "./identity/errors.ts";
export { identityService } from "./identity/service.ts";
export type * from "./identity/types.ts";
export { IdentityService } from "./gen/plinth/identity/v1/identity_pb.ts";
export { createAuthzClient } from "./authz/client.ts";
export { type AuthzErrorCode, authzErrors } from "./authz/errors.ts";
export { authzService } from "./authz/service.ts";
export type * from "./authz/types.ts";
export { AuthzService } from "./gen/plinth/authz/v1/authz_pb.ts";
export { auditEntryHash, verifyAuditChain } from "./audit/chain.ts";
export { createAuditClient } from "./audit/client.ts";
export { AuditError, type AuditErrorCode, auditErrors } from "./audit/errors.ts";
export { auditService } from "./audit/service.ts";
export type * from "./audit/types.ts";
export { AuditService } from "./gen/plinth/audit/v1/audit_pb.ts";
export { createAuthClient } from "./auth/client.ts";
export { type AuthErrorCode, authErrors } from "./auth/errors.ts";
export { authService } from "./auth/service.ts";
export type * from "./auth/types.ts";
export { AuthService } from "./gen/plinth/auth/v1/auth_pb.ts";
export { auditClient, auditRecorder, auditRecorderModule } from "./audit/module.ts";
export { createAuditRecorder } from "./audit/recorder.ts";
export {
  type AuditLoss,
  type AuditRecorder,
  type AuditRecorderOptions,
  type AuditRecorderStats,
  type AuditSpillOptions,
  type NewAuditEvent,
} from "./audit/recorder-options.ts";
export { auditSettings, type AuditSettings } from "./audit/settings.ts";
export type { SpillFile } from "./audit/spill-file.ts";
export { createInProcessChannel, type InProcessChannelOptions } from "@plinth/transport";
export { createBalancedChannel } from "./client/balanced-channel.ts";
export type {
  BudgetDescription,
  ChannelDescription,
  CircuitDescription,
  InstanceDescription,
} from "./client/describe.ts";
export type {
  BalancedChannel,
  BalancedChannelOptions,
  CallCredentials,
  CredentialCall,
  FindInstances,
  ServiceTransport,
} from "./client/options.ts";
export { type ClientDefinition, defineClient, type DefineClientOptions } from "./client/definition.ts";
export { callCredentials, serviceClients, serviceClientsModule, serviceClientsModuleOf } from "./client/module.ts";
export { authClient, authzClient, identityClient } from "./client/plinth-clients.ts";
export {
  type ClientsOf,
  createServiceClients,
  type ServiceClients,
  type ServiceClientsOptions,
  type ServiceOptions as ServiceCallOptions,
} from "./client/service-clients.ts";
export {
  type ServiceSettings,
  servicesSettings,
  type ServicesSettings,
  servicesSettingsOf,
} from "./client/settings.ts";
export { passCallerToken, serviceToken, type ServiceToken, type ServiceTokenOptions } from "./client/credentials.ts";
