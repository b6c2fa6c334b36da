import { type RpcService, rpcService } from "@plinth/transport";
import { callOf, type ServiceOptions } from "../serve.ts";
import { toTimestamp } from "../convert.ts";
import { IdentityService } from "../gen/plinth/identity/v1/identity_pb.ts";
import { userId } from "../ids.ts";
import { fromCreateRequest, fromSearchRequest, fromUpdateRequest, toUserMessage } from "./convert.ts";
import { textOf } from "../convert.ts";
import type { IdentityClient, User } from "./types.ts";

/** Serves whatever keeps users as `plinth.identity.v1`, on gRPC and over HTTP. */
export function identityService(
  identity: IdentityClient,
  options?: ServiceOptions<typeof IdentityService>,
): RpcService {
  const reply = async (user: Promise<User>) => ({ user: toUserMessage(await user) });
  return rpcService(
    IdentityService,
    {
      createUser: (request, call) => reply(identity.createUser(fromCreateRequest(request), callOf(call))),
      getUser: (request, call) => reply(identity.getUser(userId(request.userId), callOf(call))),
      batchGetUsers: async ({ userIds }, call) => {
        const { users, missing } = await identity.batchGetUsers(userIds.map(userId), callOf(call));
        return { users: users.map(toUserMessage), missingUserIds: [...missing] };
      },
      updateUser: (request, call) => reply(identity.updateUser(fromUpdateRequest(request), callOf(call))),
      searchUsers: async (request, call) => {
        const { items, nextPageToken = "" } = await identity.searchUsersPage(fromSearchRequest(request), callOf(call));
        return { users: items.map(toUserMessage), nextPageToken };
      },
      disableUser: ({ userId: id, reason, etag }, call) =>
        reply(identity.disableUser({ userId: userId(id), reason: textOf(reason), etag: textOf(etag) }, callOf(call))),
      enableUser: ({ userId: id, etag }, call) =>
        reply(identity.enableUser({ userId: userId(id), etag: textOf(etag) }, callOf(call))),
      startEmailVerification: async (request, call) => ({
        expiresAt: toTimestamp(await identity.startEmailVerification(userId(request.userId), callOf(call))),
      }),
      confirmEmail: ({ token }, call) => reply(identity.confirmEmail(token, callOf(call))),
      startPasswordReset: async ({ email }, call) => {
        await identity.startPasswordReset(email, callOf(call));
        return {};
      },
      confirmPasswordReset: async ({ token, newPassword }, call) => ({
        userId: await identity.confirmPasswordReset({ token, newPassword }, callOf(call)),
      }),
      verifyPassword: ({ email, password }, call) => reply(identity.verifyPassword({ email, password }, callOf(call))),
    },
    options,
  );
}
