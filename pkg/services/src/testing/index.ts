export { authzContract, type AuthzContractOptions } from "./authz-contract.ts";
export type { ContractCase } from "./contract.ts";
export type { FakeControl, FakeOptions } from "./control.ts";
export { type FakeAuthz, fakeAuthz } from "./fake-authz.ts";
export { type FakeIdentity, fakeIdentity, type FakeIdentityOptions, type SentMessage } from "./fake-identity.ts";
export { identityContract, type IdentityContractOptions } from "./identity-contract.ts";
export { type ReferenceServer, referenceServer, type ReferenceServerOptions } from "./reference-server.ts";
export { auditContract, type AuditContractOptions } from "./audit-contract.ts";
export { type FakeAudit, fakeAudit } from "./fake-audit.ts";
