import { createRpcClient } from "@plinth/transport";
import { newRequestIdOf, type ServiceClientOptions } from "../calls.ts";
import { readReply, toDate, toPage } from "../convert.ts";
import { IdentityService } from "../gen/plinth/identity/v1/identity_pb.ts";
import { userId } from "../ids.ts";
import { itemsOf } from "../pages.ts";
import { fromUserMessage, toCreateRequest, toSearchRequest, toUpdateRequest } from "./convert.ts";
import type { IdentityClient } from "./types.ts";

/** Calls Identity over a channel. Errors are those of the service, and of {@link createRpcClient}; `ERR_SERVICE_REPLY` for a reply that breaks the contract. */
export function createIdentityClient(options: ServiceClientOptions): IdentityClient {
  const rpc = createRpcClient(IdentityService, options);
  const newRequestId = newRequestIdOf(options);
  const client: IdentityClient = {
    createUser: async (user, call) =>
      readReply(await rpc.createUser(toCreateRequest(user, newRequestId), call), ({ user }) => fromUserMessage(user)),
    getUser: async (userId, call) =>
      readReply(await rpc.getUser({ userId }, call), ({ user }) => fromUserMessage(user)),
    batchGetUsers: async (userIds, call) =>
      readReply(await rpc.batchGetUsers({ userIds: [...userIds] }, call), ({ users, missingUserIds }) => ({
        users: users.map(fromUserMessage),
        missing: missingUserIds.map(userId),
      })),
    updateUser: async (change, call) =>
      readReply(await rpc.updateUser(toUpdateRequest(change), call), ({ user }) => fromUserMessage(user)),
    searchUsers: (query = {}, call) =>
      itemsOf((pageToken) => client.searchUsersPage({ ...query, pageToken }, call), query.pageToken),
    searchUsersPage: async (query = {}, call) =>
      readReply(await rpc.searchUsers(toSearchRequest(query), call), ({ users, nextPageToken }) =>
        toPage(users.map(fromUserMessage), nextPageToken),
      ),
    disableUser: async ({ userId, reason = "", etag = "" }, call) =>
      readReply(await rpc.disableUser({ userId, reason, etag }, call), ({ user }) => fromUserMessage(user)),
    enableUser: async ({ userId, etag = "" }, call) =>
      readReply(await rpc.enableUser({ userId, etag }, call), ({ user }) => fromUserMessage(user)),
    startEmailVerification: async (userId, call) =>
      readReply(await rpc.startEmailVerification({ userId }, call), ({ expiresAt }) => toDate(expiresAt)),
    confirmEmail: async (token, call) =>
      readReply(await rpc.confirmEmail({ token }, call), ({ user }) => fromUserMessage(user)),
    startPasswordReset: async (email, call) => void (await rpc.startPasswordReset({ email }, call)),
    confirmPasswordReset: async ({ token, newPassword }, call) =>
      readReply(await rpc.confirmPasswordReset({ token, newPassword }, call), (reply) => userId(reply.userId)),
    verifyPassword: async ({ email, password }, call) =>
      readReply(await rpc.verifyPassword({ email, password }, call), ({ user }) => fromUserMessage(user)),
  };
  return client;
}
