import { AppError } from "@plinth/kernel";
import type {
  Introspection,
  KeyRotation,
  Login,
  LoginClient,
  Refresh,
  RotatedKey,
  Session,
  TokenSet,
  TokenWish,
} from "../auth/types.ts";
import { compact, mapText } from "../convert.ts";
import { sessionId, type UserId, userId } from "../ids.ts";
import type { IdentityClient } from "../identity/types.ts";
import { AuthKeys } from "./auth-keys.ts";
import { AuthSessions } from "./auth-sessions.ts";
import { Checks } from "./checks.ts";
import { type FakeOptions, type Source, sourceOf } from "./control.ts";
import { Remembered } from "./remembered.ts";

export interface FakeAuthOptions extends FakeOptions {
  /** Who there is: `fakeIdentity()`, say. */
  readonly identity: Pick<IdentityClient, "verifyPassword" | "getUser">;
  /** Default `https://auth.test`. */
  readonly issuer?: string;
  /** Default `["plinth"]`. */
  readonly audiences?: readonly string[];
  /** What every user may. Default `["profile"]`. */
  readonly userScopes?: readonly string[];
  /** The services by their `clientId`. Default none. */
  readonly services?: Readonly<Record<string, { readonly secret: string; readonly scopes: readonly string[] }>>;
  /** Lifetime of access tokens, in milliseconds. Default 600_000. */
  readonly accessMs?: number;
  /** Lifetime of refresh tokens, in milliseconds. Default 14 days. */
  readonly refreshMs?: number;
  /** Lifetime of sessions, in milliseconds. Default 90 days. */
  readonly sessionMs?: number;
  /** Wrong passwords in a row before a login is locked for a minute. Default 10. */
  readonly maxAttempts?: number;
}

const lockedMs = 60_000;
const loginTokenMs = 600_000;
/** How long the same request may be repeated, in milliseconds. */
const repeatMs = 60_000;

/** What proves users and issues tokens, behind the fake of Auth. */
export class FakeIssuer {
  readonly source: Source;
  readonly keys: AuthKeys;
  readonly sessions: AuthSessions;
  readonly rotations: Remembered<KeyRotation, Promise<RotatedKey>>;
  readonly settings: Required<Omit<FakeAuthOptions, keyof FakeOptions | "identity">>;
  readonly #identity: FakeAuthOptions["identity"];
  readonly #attempts = new Map<string, { failed: number; lockedUntilMs: number }>();
  readonly #loginTokens = new Map<string, { readonly userId: UserId; readonly untilMs: number }>();
  readonly #revoked = new Set<unknown>();

  constructor(options: FakeAuthOptions) {
    const { issuer = "https://auth.test", audiences = ["plinth"], userScopes = ["profile"], services = {} } = options;
    const { accessMs = 600_000, refreshMs = 1_209_600_000, sessionMs = 7_776_000_000, maxAttempts = 10 } = options;
    this.settings = { issuer, audiences, userScopes, services, accessMs, refreshMs, sessionMs, maxAttempts };
    this.source = sourceOf(options);
    this.keys = new AuthKeys(this.source, accessMs);
    this.sessions = new AuthSessions(this.source, { refreshMs, sessionMs });
    this.rotations = new Remembered(this.source.clock);
    this.#identity = options.identity;
  }

  loginToken(id: UserId): string {
    const token = `l-${this.source.hex(16)}`;
    this.#loginTokens.set(token, { userId: id, untilMs: this.source.clock.now() + loginTokenMs });
    return token;
  }

  /** @throws AppError `ERR_AUTH_LOCKED`, `ERR_AUTH_CREDENTIALS`, `ERR_AUTH_USER_DISABLED`. */
  async verify(login: string, password: string): Promise<UserId> {
    const key = login.toLowerCase();
    const attempts = this.#attempts.get(key) ?? { failed: 0, lockedUntilMs: 0 };
    this.#attempts.set(key, attempts);
    const leftMs = attempts.lockedUntilMs - this.source.clock.now();
    if (leftMs > 0)
      throw AppError.resourceExhausted("ERR_AUTH_LOCKED", "too many wrong passwords; wait", {
        metadata: { retry_after_seconds: String(Math.ceil(leftMs / 1_000)) },
      });
    try {
      const user = await this.#identity.verifyPassword({ email: login, password });
      attempts.failed = 0;
      if (user.state !== "active") throw disabled();
      return user.userId;
    } catch (error) {
      if (AppError.from(error).code !== "ERR_IDENTITY_CREDENTIALS") throw error;
      attempts.failed += 1;
      if (attempts.failed >= this.settings.maxAttempts) {
        attempts.failed = 0;
        attempts.lockedUntilMs = this.source.clock.now() + lockedMs;
      }
      throw AppError.unauthenticated("ERR_AUTH_CREDENTIALS", "login or password is wrong");
    }
  }

  /** @throws AppError `ERR_AUTH_TOKEN_INVALID`, `ERR_AUTH_USER_DISABLED`. */
  async spendLoginToken(token: string): Promise<UserId> {
    const known = this.#loginTokens.get(token);
    this.#loginTokens.delete(token);
    if (known === undefined || known.untilMs <= this.source.clock.now()) throw invalidToken();
    if (!(await this.isActive(known.userId))) throw disabled();
    return known.userId;
  }

  async isActive(id: UserId): Promise<boolean> {
    return (await this.#identity.getUser(id)).state === "active";
  }

  async logIn(
    given: {
      readonly userId: UserId;
      readonly client: LoginClient | undefined;
      readonly loginMethod: "password" | "token";
    },
    { audience, scopes }: Wish,
  ): Promise<Login> {
    const { sessionId } = this.sessions.begin({ ...given, scopes });
    const tokens = await this.tokensOf(sessionId, given.userId, { audience, scopes });
    return { tokens, session: this.sessions.get(sessionId) };
  }

  async tokensOf(session: Session["sessionId"], subject: UserId, { audience, scopes }: Wish): Promise<TokenSet> {
    const { token, expiresAtMs } = this.sessions.issue(session, audience);
    const access = await this.access(subject, { audience, scopes }, session);
    return { ...access, refreshToken: token, refreshExpiresAt: new Date(expiresAtMs) };
  }

  async access(subject: string, { audience, scopes }: Wish, sid?: string): Promise<TokenSet> {
    const iat = Math.floor(this.source.clock.now() / 1_000);
    const exp = iat + Math.ceil(this.settings.accessMs / 1_000);
    const jti = `t-${this.source.hex(8)}`;
    const claims = compact({
      iss: this.settings.issuer,
      sub: subject,
      aud: audience,
      iat,
      exp,
      jti,
      scope: scopes.join(" "),
      sid,
    });
    return { accessToken: await this.keys.sign(claims), accessExpiresAt: new Date(exp * 1_000), scopes };
  }

  /** @throws AppError `ERR_AUTH_AUDIENCE`, `ERR_AUTH_SCOPE`. */
  wish({ audience = this.settings.audiences[0] ?? "", scopes }: TokenWish, allowed: readonly string[]): Wish {
    new Checks().size(scopes?.length ?? 0, "/scopes", { max: 64 }).done();
    if (!this.settings.audiences.includes(audience))
      throw AppError.invalidArgument("ERR_AUTH_AUDIENCE", "no tokens are issued for this audience");
    const wanted = scopes === undefined || scopes.length === 0 ? allowed : [...new Set(scopes)];
    const missing = wanted.filter((scope) => !allowed.includes(scope));
    if (missing.length === 0) return { audience, scopes: wanted };
    throw AppError.permissionDenied("ERR_AUTH_SCOPE", `not allowed: ${missing.join(" ")}`);
  }

  async refresh({ refreshToken, scopes }: Refresh, requestId: string): Promise<TokenSet> {
    const known = this.sessions.token(refreshToken);
    if (known === undefined) throw invalidToken();
    const { sessionId: id, audience, expiresAtMs } = known;
    const { userId } = this.sessions.get(id);
    const isActive = await this.isActive(userId);
    // nothing is waited for from here until the token is spent: of two at the same time, one spends it
    const nowMs = this.source.clock.now();
    if (!this.sessions.isLive(id))
      throw AppError.unauthenticated("ERR_AUTH_SESSION_ENDED", "the session has ended; log in again");
    if (known.spent !== undefined) {
      const isRepeated = known.spent.requestId === requestId && nowMs - known.spent.atMs < repeatMs;
      if (isRepeated) return known.spent.reply;
      this.sessions.end(id, "refresh-reused");
      throw AppError.unauthenticated(
        "ERR_AUTH_REFRESH_REUSED",
        "this refresh token was spent before; the session has ended",
      );
    }
    if (expiresAtMs <= nowMs) throw invalidToken();
    if (!isActive) {
      this.sessions.end(id, "user-disabled");
      throw disabled();
    }
    const wish = this.wish({ audience, scopes }, this.sessions.scopesOf(id));
    const reply = this.tokensOf(id, userId, wish);
    known.spent = { requestId, atMs: nowMs, reply };
    return reply;
  }

  async revoke(token: string): Promise<void> {
    const refresh = this.sessions.token(token);
    if (refresh !== undefined) this.sessions.end(refresh.sessionId, "revoked");
    else this.#revoked.add((await this.keys.read(token))?.jti);
  }

  async introspect(token: string, audience: string | undefined): Promise<Introspection> {
    const found = this.#readRefresh(token) ?? (await this.#readAccess(token));
    if (!found.active) return found;
    const isFor = audience === undefined || found.audiences.includes(audience);
    const isOver = found.sessionId !== undefined && !this.sessions.isLive(found.sessionId);
    if (!isFor || isOver || found.expiresAt <= this.source.now()) return { active: false };
    return found.sessionId === undefined || (await this.isActive(userId(found.subject))) ? found : { active: false };
  }

  endAll(id: UserId, reason: "revoked" | "user-disabled", but?: Session["sessionId"]): number {
    const live = this.sessions.of(id, {}).filter(({ sessionId }) => sessionId !== but);
    return live.filter(({ sessionId }) => this.sessions.end(sessionId, reason)).length;
  }

  #readRefresh(token: string): Introspection | undefined {
    const known = this.sessions.token(token);
    if (known === undefined) return undefined;
    if (known.spent !== undefined) return { active: false };
    const { sessionId, audience, issuedAtMs, expiresAtMs } = known;
    const times = { issuedAt: new Date(issuedAtMs), expiresAt: new Date(expiresAtMs) };
    const subject = this.sessions.get(sessionId).userId;
    const scopes = this.sessions.scopesOf(sessionId);
    const claims = { subject, sessionId, audiences: [audience], scopes, issuer: this.settings.issuer, ...times };
    return { active: true, kind: "refresh", ...claims };
  }

  async #readAccess(token: string): Promise<Introspection> {
    const claims = await this.keys.read(token);
    if (claims === undefined || this.#revoked.has(claims.jti)) return { active: false };
    const { sub, sid = "", aud, scope, iss, jti, iat, exp } = claims;
    return compact({
      active: true,
      kind: "access",
      subject: String(sub),
      sessionId: mapText(String(sid), sessionId),
      audiences: [String(aud)],
      scopes: String(scope).split(" ").filter(Boolean),
      issuer: String(iss),
      tokenId: String(jti),
      issuedAt: new Date(Number(iat) * 1_000),
      expiresAt: new Date(Number(exp) * 1_000),
    });
  }
}

interface Wish {
  readonly audience: string;
  readonly scopes: readonly string[];
}

function invalidToken(): AppError {
  return AppError.unauthenticated("ERR_AUTH_TOKEN_INVALID", "the token is not valid; log in again");
}

function disabled(): AppError {
  return AppError.permissionDenied("ERR_AUTH_USER_DISABLED", "the user may not log in");
}
