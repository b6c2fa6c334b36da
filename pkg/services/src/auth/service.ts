import { type RpcService, rpcService } from "@plinth/transport";
import {
  compact,
  fromPageFields,
  mapText,
  mapValue,
  required,
  textOf,
  toDuration,
  toMs,
  toTimestamp,
} from "../convert.ts";
import { AuthService } from "../gen/plinth/auth/v1/auth_pb.ts";
import { sessionId, userId } from "../ids.ts";
import { callOf, type ServiceOptions } from "../serve.ts";
import {
  fromClientMessage,
  toIntrospectReply,
  toIssuerMessage,
  toKeyMessage,
  toSessionMessage,
  toTokensMessage,
} from "./convert.ts";
import type { AuthClient, Login, TokenSet, TokenWish } from "./types.ts";

/** Serves whatever issues tokens as `plinth.auth.v1`, on gRPC and over HTTP. */
export function authService(auth: AuthClient, options?: ServiceOptions<typeof AuthService>): RpcService {
  return rpcService(
    AuthService,
    {
      loginWithPassword: async ({ login, password, client, ...wish }, call) => {
        const request = { login, password, client: fromClientMessage(client), ...wishOf(wish) };
        return toLoginReply(await auth.loginWithPassword(request, callOf(call)));
      },
      loginWithToken: async ({ token, client, ...wish }, call) => {
        const request = { token, client: fromClientMessage(client), ...wishOf(wish) };
        return toLoginReply(await auth.loginWithToken(request, callOf(call)));
      },
      issueServiceToken: async ({ clientId, clientSecret, ...wish }, call) =>
        toTokensReply(await auth.issueServiceToken({ clientId, clientSecret, ...wishOf(wish) }, callOf(call))),
      refresh: async ({ refreshToken, requestId, scopes }, call) => {
        const request = { refreshToken, requestId: required(requestId, "/request_id"), scopes: listOf(scopes) };
        return toTokensReply(await auth.refresh(request, callOf(call)));
      },
      revoke: async ({ token }, call) => {
        await auth.revoke(token, callOf(call));
        return {};
      },
      introspect: async ({ token, audience }, call) =>
        toIntrospectReply(await auth.introspect({ token, audience: textOf(audience) }, callOf(call))),
      getKeySet: async (_request, call) => {
        const { keys, maxAgeMs } = await auth.getKeySet(callOf(call));
        return { keys: keys.map(toKeyMessage), maxAge: toDuration(maxAgeMs) };
      },
      getIssuer: async (_request, call) => ({ issuer: toIssuerMessage(await auth.getIssuer(callOf(call))) }),
      rotateKeys: async ({ publishAhead, revokeOld, requestId }, call) => {
        const wish = { publishAheadMs: mapValue(publishAhead, toMs), revokeOld };
        const request = compact({ ...wish, requestId: required(requestId, "/request_id") });
        const { key, signsFrom } = await auth.rotateKeys(request, callOf(call));
        return { key: toKeyMessage(key), signsFrom: toTimestamp(signsFrom) };
      },
      getSession: async (request, call) => ({
        session: toSessionMessage(await auth.getSession(sessionId(request.sessionId), callOf(call))),
      }),
      listSessions: async (request, call) => {
        const { includeEnded } = request;
        const query = compact({ userId: userId(request.userId), includeEnded, ...fromPageFields(request) });
        const { items, nextPageToken = "" } = await auth.listSessionsPage(query, callOf(call));
        return { sessions: items.map(toSessionMessage), nextPageToken };
      },
      endSession: async (request, call) => ({
        session: toSessionMessage(await auth.endSession(sessionId(request.sessionId), callOf(call))),
      }),
      endUserSessions: async (request, call) => ({
        endedCount: await auth.endUserSessions(
          { userId: userId(request.userId), exceptSessionId: mapText(request.exceptSessionId, sessionId) },
          callOf(call),
        ),
      }),
    },
    options,
  );
}

function wishOf({ audience, scopes }: { readonly audience: string; readonly scopes: readonly string[] }): TokenWish {
  return { audience: textOf(audience), scopes: listOf(scopes) };
}

/** An empty list is none. */
function listOf(items: readonly string[]): readonly string[] | undefined {
  return items.length === 0 ? undefined : items;
}

function toTokensReply(tokens: TokenSet) {
  return { tokens: toTokensMessage(tokens) };
}

function toLoginReply({ tokens, session }: Login) {
  return { tokens: toTokensMessage(tokens), session: toSessionMessage(session) };
}
