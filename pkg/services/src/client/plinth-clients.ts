import { createAuditClient } from "../audit/client.ts";
import { auditClient } from "../audit/module.ts";
import { createAuthClient } from "../auth/client.ts";
import { createAuthzClient } from "../authz/client.ts";
import { AuditService } from "../gen/plinth/audit/v1/audit_pb.ts";
import { AuthService } from "../gen/plinth/auth/v1/auth_pb.ts";
import { AuthzService } from "../gen/plinth/authz/v1/authz_pb.ts";
import { IdentityService } from "../gen/plinth/identity/v1/identity_pb.ts";
import { createIdentityClient } from "../identity/client.ts";
import { defineClient, defineClientOf } from "./definition.ts";

const auth = defineClient({ name: "auth", descriptor: AuthService, create: createAuthClient });
const identity = defineClient({ name: "identity", descriptor: IdentityService, create: createIdentityClient });
const authz = defineClient({ name: "authz", descriptor: AuthzService, create: createAuthzClient });
const audit = defineClientOf(auditClient, { name: "audit", descriptor: AuditService, create: createAuditClient });

/** The clients that there always are. */
export const plinthClients = [auth, identity, authz, audit] as const;

/** What calls Auth. */
export const authClient = auth.client;
/** What calls Identity. */
export const identityClient = identity.client;
/** What calls Authz. */
export const authzClient = authz.client;
