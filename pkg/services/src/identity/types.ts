import type { CallOptions } from "../calls.ts";
import type { UserId } from "../ids.ts";
import type { Page, PageRequest } from "../pages.ts";

/** Whether a user may log in; `other` where the service says something that this client does not know. */
export type UserState = "active" | "disabled" | "other";

export interface User {
  readonly userId: UserId;
  readonly email: string;
  /** When the user has shown to have that address. Absent: never. */
  readonly emailVerifiedAt?: Date | undefined;
  readonly displayName: string;
  /** Language tag, as `de-CH`. */
  readonly locale?: string | undefined;
  readonly attributes: Readonly<Record<string, string>>;
  readonly state: UserState;
  readonly disabledReason?: string | undefined;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  /** Another one after each change. */
  readonly etag: string;
}

export interface NewUser {
  /** 3 to 254 characters; unique without regard to case. */
  readonly email: string;
  /** 0 to 200 characters. Default empty. */
  readonly displayName?: string | undefined;
  readonly locale?: string | undefined;
  /** At most 32, keys of 1 to 64 characters, values of at most 512. */
  readonly attributes?: Readonly<Record<string, string>> | undefined;
  /** 12 to 1024 characters. Absent: none until it is reset. */
  readonly password?: string | undefined;
  /** Names this creation, however often it is sent. Default: a new one for each call. */
  readonly requestId?: string | undefined;
}

/** What is there is changed; `locale: ""` takes it away. */
export interface UserChange {
  readonly userId: UserId;
  readonly email?: string | undefined;
  readonly displayName?: string | undefined;
  readonly locale?: string | undefined;
  /** All of them at once. */
  readonly attributes?: Readonly<Record<string, string>> | undefined;
  /** Only this state of the user is changed. Absent: any. */
  readonly etag?: string | undefined;
}

/** What is absent fits everybody. */
export interface UserQuery {
  /** Words that the address or a word of the name begins with, without regard to case. */
  readonly text?: string | undefined;
  /** The whole address, without regard to case. */
  readonly email?: string | undefined;
  readonly state?: "active" | "disabled" | undefined;
  readonly createdFrom?: Date | undefined;
  readonly createdBefore?: Date | undefined;
  /** Default `newest`. */
  readonly order?: UserOrder | undefined;
}

export type UserOrder = "newest" | "oldest" | "email";

/** Keeps users: `plinth.identity.v1`, whose comments say who may call what. Errors have the codes of {@link identityErrors}. */
export interface IdentityClient {
  /** @throws `ERR_IDENTITY_EMAIL_TAKEN`, `ERR_IDENTITY_PASSWORD_WEAK`, `ERR_REQUEST_ID_REUSED`. */
  createUser(user: NewUser, options?: CallOptions): Promise<User>;
  /** @throws `ERR_IDENTITY_USER_NOT_FOUND`. */
  getUser(userId: UserId, options?: CallOptions): Promise<User>;
  /** 1 to 100 users. Who is not there is named, and is no error. */
  batchGetUsers(userIds: readonly UserId[], options?: CallOptions): Promise<UserBatch>;
  /** @throws `ERR_IDENTITY_USER_NOT_FOUND`, `ERR_IDENTITY_ETAG`, `ERR_IDENTITY_EMAIL_TAKEN`. */
  updateUser(change: UserChange, options?: CallOptions): Promise<User>;
  /** All users that fit, page by page. @throws `ERR_PAGE_TOKEN`. */
  searchUsers(query?: UserQuery & PageRequest, options?: CallOptions): AsyncIterable<User>;
  /** @throws `ERR_PAGE_TOKEN`. */
  searchUsersPage(query?: UserQuery & PageRequest, options?: CallOptions): Promise<Page<User>>;
  /** @throws `ERR_IDENTITY_USER_NOT_FOUND`, `ERR_IDENTITY_ETAG`. */
  disableUser(request: DisableUser, options?: CallOptions): Promise<User>;
  /** @throws `ERR_IDENTITY_USER_NOT_FOUND`, `ERR_IDENTITY_ETAG`. */
  enableUser(request: EnableUser, options?: CallOptions): Promise<User>;
  /**
   * @returns When the token in the message expires; undefined where the address is verified already, and nothing was sent.
   * @throws `ERR_IDENTITY_USER_NOT_FOUND`, `ERR_IDENTITY_TOO_MANY_MESSAGES`.
   */
  startEmailVerification(userId: UserId, options?: CallOptions): Promise<Date | undefined>;
  /** @throws `ERR_IDENTITY_TOKEN_INVALID`. */
  confirmEmail(token: string, options?: CallOptions): Promise<User>;
  /** Tells nobody whether there is such a user. */
  startPasswordReset(email: string, options?: CallOptions): Promise<void>;
  /** @throws `ERR_IDENTITY_TOKEN_INVALID`, `ERR_IDENTITY_PASSWORD_WEAK`. */
  confirmPasswordReset(request: PasswordReset, options?: CallOptions): Promise<UserId>;
  /** For Auth alone. @throws `ERR_IDENTITY_CREDENTIALS`. */
  verifyPassword(request: PasswordCheck, options?: CallOptions): Promise<User>;
}

export interface UserBatch {
  /** In the order in which they were asked for. */
  readonly users: readonly User[];
  readonly missing: readonly UserId[];
}

export interface DisableUser {
  readonly userId: UserId;
  /** For operators, 0 to 500 characters. Default empty. */
  readonly reason?: string | undefined;
  readonly etag?: string | undefined;
}

export interface EnableUser {
  readonly userId: UserId;
  readonly etag?: string | undefined;
}

export interface PasswordReset {
  readonly token: string;
  /** 12 to 1024 characters. */
  readonly newPassword: string;
}

export interface PasswordCheck {
  readonly email: string;
  readonly password: string;
}
