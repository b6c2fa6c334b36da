import { createRpcClient } from "@plinth/transport";
import type { ServiceClientOptions } from "../calls.ts";
import { mapValue, readReply, toPage, toPageFields } from "../convert.ts";
import { AuthzService } from "../gen/plinth/authz/v1/authz_pb.ts";
import { itemsOf } from "../pages.ts";
import {
  fromBindingMessage,
  fromRelationshipMessage,
  fromResultMessage,
  fromRoleMessage,
  toConsistencyMessage,
  toItemMessage,
  toObjectMessage,
  toSubjectMessage,
  toUpdateMessage,
  toUpdateRoleRequest,
} from "./convert.ts";
import type { AuthzClient } from "./types.ts";

/** Calls Authz over a channel. Errors are those of the service, and of {@link createRpcClient}; `ERR_SERVICE_REPLY` for a reply that breaks the contract. */
export function createAuthzClient(options: ServiceClientOptions): AuthzClient {
  const rpc = createRpcClient(AuthzService, options);
  const client: AuthzClient = {
    check: async ({ consistency, ...item }, call) => {
      const request = { item: toItemMessage(item), consistency: toConsistencyMessage(consistency) };
      const { allowed, consistencyToken } = await rpc.check(request, call);
      return { allowed, consistencyToken };
    },
    batchCheck: async ({ items, consistency }, call) => {
      const request = { items: items.map(toItemMessage), consistency: toConsistencyMessage(consistency) };
      return readReply(await rpc.batchCheck(request, call), ({ results, consistencyToken }) => {
        if (results.length !== items.length) throw new Error(`${results.length} results of ${items.length} questions`);
        return { results: results.map(fromResultMessage), consistencyToken };
      });
    },
    listPermissions: async ({ subject, resource, consistency }, call) => {
      const about = { subject: toObjectMessage(subject), resource: toObjectMessage(resource) };
      const request = { ...about, consistency: toConsistencyMessage(consistency) };
      const { permissions, consistencyToken } = await rpc.listPermissions(request, call);
      return { permissions, consistencyToken };
    },
    writeRelationships: async (updates, call) =>
      (await rpc.writeRelationships({ updates: updates.map(toUpdateMessage) }, call)).consistencyToken,
    listRelationships: (query = {}, call) =>
      itemsOf((pageToken) => client.listRelationshipsPage({ ...query, pageToken }, call), query.pageToken),
    listRelationshipsPage: async (query = {}, call) => {
      const { resourceType = "", resourceId = "", relation = "", subject, consistency } = query;
      const request = {
        resourceType,
        resourceId,
        relation,
        subject: mapValue(subject, toSubjectMessage),
        consistency: toConsistencyMessage(consistency),
        ...toPageFields(query),
      };
      return readReply(await rpc.listRelationships(request, call), (reply) => ({
        ...toPage(
          reply.relationships.map((relationship) => fromRelationshipMessage(relationship)),
          reply.nextPageToken,
        ),
        consistencyToken: reply.consistencyToken,
      }));
    },
    createRole: async ({ roleId, description = "", permissions }, call) =>
      readReply(await rpc.createRole({ roleId, description, permissions: [...permissions] }, call), roleWritten),
    getRole: async (roleId, call) =>
      readReply(await rpc.getRole({ roleId }, call), ({ role }) => fromRoleMessage(role)),
    listRoles: (request = {}, call) =>
      itemsOf((pageToken) => client.listRolesPage({ ...request, pageToken }, call), request.pageToken),
    listRolesPage: async (request = {}, call) =>
      readReply(await rpc.listRoles(toPageFields(request), call), ({ roles, nextPageToken }) =>
        toPage(roles.map(fromRoleMessage), nextPageToken),
      ),
    updateRole: async (change, call) => readReply(await rpc.updateRole(toUpdateRoleRequest(change), call), roleWritten),
    deleteRole: async ({ roleId, etag = "" }, call) => (await rpc.deleteRole({ roleId, etag }, call)).consistencyToken,
    createBinding: async ({ roleId, subject, resource }, call) => {
      const request = { roleId, subject: toSubjectMessage(subject), resource: mapValue(resource, toObjectMessage) };
      return readReply(await rpc.createBinding(request, call), ({ binding, consistencyToken }) => ({
        binding: fromBindingMessage(binding),
        consistencyToken,
      }));
    },
    deleteBinding: async (bindingId, call) => (await rpc.deleteBinding({ bindingId }, call)).consistencyToken,
    listBindings: (query = {}, call) =>
      itemsOf((pageToken) => client.listBindingsPage({ ...query, pageToken }, call), query.pageToken),
    listBindingsPage: async (query = {}, call) => {
      const { roleId = "", subject, resource, consistency } = query;
      const request = {
        roleId,
        subject: mapValue(subject, toSubjectMessage),
        resource: mapValue(resource, toObjectMessage),
        consistency: toConsistencyMessage(consistency),
        ...toPageFields(query),
      };
      return readReply(await rpc.listBindings(request, call), ({ bindings, nextPageToken }) =>
        toPage(bindings.map(fromBindingMessage), nextPageToken),
      );
    },
  };
  return client;
}

function roleWritten(reply: {
  readonly role?: Parameters<typeof fromRoleMessage>[0];
  readonly consistencyToken: string;
}) {
  return { role: fromRoleMessage(reply.role), consistencyToken: reply.consistencyToken };
}
