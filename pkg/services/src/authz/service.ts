import { type RpcService, rpcService } from "@plinth/transport";
import { compact, fromPageFields, mapText, mapValue, textOf } from "../convert.ts";
import { AuthzService } from "../gen/plinth/authz/v1/authz_pb.ts";
import { bindingId, roleId } from "../ids.ts";
import { callOf, type ServiceOptions } from "../serve.ts";
import {
  fromConsistencyMessage,
  fromItemMessage,
  fromObjectMessage,
  fromSubjectMessage,
  fromUpdateMessage,
  fromUpdateRoleRequest,
  toBindingMessage,
  toRelationshipMessage,
  toResultMessage,
  toRoleMessage,
} from "./convert.ts";
import type { AuthzClient } from "./types.ts";

/** Serves whatever answers who may do what as `plinth.authz.v1`, on gRPC and over HTTP. */
export function authzService(authz: AuthzClient, options?: ServiceOptions<typeof AuthzService>): RpcService {
  return rpcService(
    AuthzService,
    {
      check: ({ item, consistency }, call) =>
        authz.check({ ...fromItemMessage(item), consistency: fromConsistencyMessage(consistency) }, callOf(call)),
      batchCheck: async ({ items, consistency }, call) => {
        const questions = items.map((item, at) => fromItemMessage(item, `/items/${at}`));
        const request = { items: questions, consistency: fromConsistencyMessage(consistency) };
        const { results, consistencyToken } = await authz.batchCheck(request, callOf(call));
        return { results: results.map(toResultMessage), consistencyToken };
      },
      listPermissions: async ({ subject, resource, consistency }, call) => {
        const request = {
          subject: fromObjectMessage(subject, "/subject"),
          resource: fromObjectMessage(resource, "/resource"),
          consistency: fromConsistencyMessage(consistency),
        };
        const { permissions, consistencyToken } = await authz.listPermissions(request, callOf(call));
        return { permissions: [...permissions], consistencyToken };
      },
      writeRelationships: async ({ updates }, call) => ({
        consistencyToken: await authz.writeRelationships(updates.map(fromUpdateMessage), callOf(call)),
      }),
      listRelationships: async (request, call) => {
        const query = compact({
          resourceType: textOf(request.resourceType),
          resourceId: textOf(request.resourceId),
          relation: textOf(request.relation),
          subject: mapValue(request.subject, (subject) => fromSubjectMessage(subject, "/subject")),
          consistency: fromConsistencyMessage(request.consistency),
          ...fromPageFields(request),
        });
        const { items, nextPageToken = "", consistencyToken } = await authz.listRelationshipsPage(query, callOf(call));
        return { relationships: items.map(toRelationshipMessage), nextPageToken, consistencyToken };
      },
      createRole: async (request, call) => {
        const { description, permissions } = request;
        const given = { roleId: roleId(request.roleId), description, permissions };
        const { role, consistencyToken } = await authz.createRole(given, callOf(call));
        return { role: toRoleMessage(role), consistencyToken };
      },
      getRole: async (request, call) => ({
        role: toRoleMessage(await authz.getRole(roleId(request.roleId), callOf(call))),
      }),
      listRoles: async (request, call) => {
        const { items, nextPageToken = "" } = await authz.listRolesPage(fromPageFields(request), callOf(call));
        return { roles: items.map(toRoleMessage), nextPageToken };
      },
      updateRole: async (request, call) => {
        const { role, consistencyToken } = await authz.updateRole(fromUpdateRoleRequest(request), callOf(call));
        return { role: toRoleMessage(role), consistencyToken };
      },
      deleteRole: async (request, call) => ({
        consistencyToken: await authz.deleteRole(
          { roleId: roleId(request.roleId), etag: textOf(request.etag) },
          callOf(call),
        ),
      }),
      createBinding: async (request, call) => {
        const given = {
          roleId: roleId(request.roleId),
          subject: fromSubjectMessage(request.subject, "/subject"),
          resource: mapValue(request.resource, (resource) => fromObjectMessage(resource, "/resource")),
        };
        const { binding, consistencyToken } = await authz.createBinding(given, callOf(call));
        return { binding: toBindingMessage(binding), consistencyToken };
      },
      deleteBinding: async (request, call) => ({
        consistencyToken: await authz.deleteBinding(bindingId(request.bindingId), callOf(call)),
      }),
      listBindings: async (request, call) => {
        const query = compact({
          roleId: mapText(request.roleId, roleId),
          subject: mapValue(request.subject, (subject) => fromSubjectMessage(subject, "/subject")),
          resource: mapValue(request.resource, (resource) => fromObjectMessage(resource, "/resource")),
          consistency: fromConsistencyMessage(request.consistency),
          ...fromPageFields(request),
        });
        const { items, nextPageToken = "" } = await authz.listBindingsPage(query, callOf(call));
        return { bindings: items.map(toBindingMessage), nextPageToken };
      },
    },
    options,
  );
}
