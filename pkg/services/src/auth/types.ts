import type { CallOptions } from "../calls.ts";
import type { SessionId, UserId } from "../ids.ts";
import type { Page, PageRequest } from "../pages.ts";

/** What a user logs in from: what a client says of itself. */
export interface LoginClient {
  /** As the edge knows it, without port. */
  readonly address?: string | undefined;
  /** At most 256 characters, for the list of sessions. */
  readonly name?: string | undefined;
}

/** What an access token is asked for. */
export interface TokenWish {
  /** Who will be shown it. Default: the issuer's first audience. */
  readonly audience?: string | undefined;
  /** What it should allow, at most 64. Default: what the user or service has. */
  readonly scopes?: readonly string[] | undefined;
}

export interface PasswordLogin extends TokenWish {
  /** The e-mail address, without regard to case. */
  readonly login: string;
  readonly password: string;
  readonly client?: LoginClient | undefined;
}

export interface TokenLogin extends TokenWish {
  /** Made for one login. */
  readonly token: string;
  readonly client?: LoginClient | undefined;
}

export interface ServiceLogin extends TokenWish {
  readonly clientId: string;
  readonly clientSecret: string;
}

export interface TokenSet {
  /** A JWT, to be sent as a bearer token. */
  readonly accessToken: string;
  readonly accessExpiresAt: Date;
  /** Spent by the first refresh. Absent where there is no session. */
  readonly refreshToken?: string | undefined;
  readonly refreshExpiresAt?: Date | undefined;
  readonly scopes: readonly string[];
}

export interface Login {
  readonly tokens: TokenSet;
  readonly session: Session;
}

/** `other` where the service says something that this client does not know. */
export type LoginMethod = "password" | "token" | "other";
export type SessionEndReason = "revoked" | "refresh-reused" | "user-disabled";

export interface Session {
  readonly sessionId: SessionId;
  readonly userId: UserId;
  readonly client: LoginClient;
  readonly loginMethod: LoginMethod;
  readonly createdAt: Date;
  readonly lastUsedAt: Date;
  /** When it ends at the latest. */
  readonly expiresAt: Date;
  /** When it was ended before that. */
  readonly endedAt?: Date | undefined;
  readonly endReason?: SessionEndReason | undefined;
}

export interface Refresh {
  readonly refreshToken: string;
  /** Names this attempt, however often it is sent: a repetition within 60 seconds gets the same answer. Default: a new one for each call. */
  readonly requestId?: string | undefined;
  /** Fewer than the session has. Default: all of them. */
  readonly scopes?: readonly string[] | undefined;
}

export interface TokenClaims {
  readonly kind: "access" | "refresh" | "other";
  /** A user's id, or the id of a service. */
  readonly subject: string;
  readonly sessionId?: SessionId | undefined;
  readonly audiences: readonly string[];
  readonly scopes: readonly string[];
  readonly issuer: string;
  readonly tokenId?: string | undefined;
  readonly issuedAt: Date;
  readonly expiresAt: Date;
}

/** Of a token that is not active nothing else is told. */
export type Introspection = { readonly active: false } | ({ readonly active: true } & TokenClaims);

/** A public key as RFC 7517 has it: what `importKey("jwk", …)` takes. */
export interface PublicJwk {
  readonly kid: string;
  readonly kty: string;
  readonly alg: string;
  readonly use: string;
  readonly n?: string | undefined;
  readonly e?: string | undefined;
  readonly crv?: string | undefined;
  readonly x?: string | undefined;
  readonly y?: string | undefined;
}

export interface KeySet {
  /** The one that signs first. */
  readonly keys: readonly PublicJwk[];
  /** How long it may be kept, in milliseconds. */
  readonly maxAgeMs: number;
}

export interface Issuer {
  readonly issuer: string;
  /** The first is the default. */
  readonly audiences: readonly string[];
  readonly signingAlgorithms: readonly string[];
  readonly jwksUri?: string | undefined;
  readonly accessLifetimeMs: number;
  readonly refreshLifetimeMs: number;
  readonly sessionLifetimeMs: number;
}

export interface KeyRotation {
  /** How long the new key is published before it signs, in milliseconds up to 7 days; 0 for a key that has leaked. Default: twice the max age. */
  readonly publishAheadMs?: number | undefined;
  /** Takes the old key out at once, and with it all that it signed. Default false. */
  readonly revokeOld?: boolean | undefined;
  /** Names this rotation, however often it is sent. Default: a new one for each call. */
  readonly requestId?: string | undefined;
}

export interface RotatedKey {
  readonly key: PublicJwk;
  readonly signsFrom: Date;
}

export interface SessionQuery extends PageRequest {
  readonly userId: UserId;
  /** Those that have ended or expired too. Default false. */
  readonly includeEnded?: boolean | undefined;
}

export interface EndUserSessions {
  readonly userId: UserId;
  /** The one that goes on. */
  readonly exceptSessionId?: SessionId | undefined;
}

/** Issues and takes back tokens: `plinth.auth.v1`, whose comments say who may call what. Errors have the codes of {@link authErrors}. */
export interface AuthClient {
  /**
   * @throws `ERR_AUTH_CREDENTIALS`, `ERR_AUTH_USER_DISABLED`, `ERR_AUTH_LOCKED` with metadata `retry_after_seconds`, `ERR_AUTH_AUDIENCE`,
   *   `ERR_AUTH_SCOPE`.
   */
  loginWithPassword(request: PasswordLogin, options?: CallOptions): Promise<Login>;
  /** @throws `ERR_AUTH_TOKEN_INVALID`, `ERR_AUTH_USER_DISABLED`, `ERR_AUTH_AUDIENCE`, `ERR_AUTH_SCOPE`. */
  loginWithToken(request: TokenLogin, options?: CallOptions): Promise<Login>;
  /** @throws `ERR_AUTH_CREDENTIALS`, `ERR_AUTH_AUDIENCE`, `ERR_AUTH_SCOPE`. */
  issueServiceToken(request: ServiceLogin, options?: CallOptions): Promise<TokenSet>;
  /** @throws `ERR_AUTH_TOKEN_INVALID`, `ERR_AUTH_REFRESH_REUSED`, `ERR_AUTH_SESSION_ENDED`, `ERR_AUTH_USER_DISABLED`, `ERR_AUTH_SCOPE`. */
  refresh(request: Refresh, options?: CallOptions): Promise<TokenSet>;
  /** A token that is unknown is no error. */
  revoke(token: string, options?: CallOptions): Promise<void>;
  introspect(
    request: { readonly token: string; readonly audience?: string | undefined },
    options?: CallOptions,
  ): Promise<Introspection>;
  getKeySet(options?: CallOptions): Promise<KeySet>;
  getIssuer(options?: CallOptions): Promise<Issuer>;
  /** @throws `ERR_AUTH_ROTATION_PENDING`, `ERR_REQUEST_ID_REUSED`. */
  rotateKeys(request?: KeyRotation, options?: CallOptions): Promise<RotatedKey>;
  /** @throws `ERR_AUTH_SESSION_NOT_FOUND`. */
  getSession(sessionId: SessionId, options?: CallOptions): Promise<Session>;
  /** The newest first, page by page. @throws `ERR_PAGE_TOKEN`. */
  listSessions(query: SessionQuery, options?: CallOptions): AsyncIterable<Session>;
  /** @throws `ERR_PAGE_TOKEN`. */
  listSessionsPage(query: SessionQuery, options?: CallOptions): Promise<Page<Session>>;
  /** @throws `ERR_AUTH_SESSION_NOT_FOUND`. */
  endSession(sessionId: SessionId, options?: CallOptions): Promise<Session>;
  /** @returns How many have ended by this call. */
  endUserSessions(request: EndUserSessions, options?: CallOptions): Promise<number>;
}
