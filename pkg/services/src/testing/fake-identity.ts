import { AppError } from "@plinth/kernel";
import { compact } from "../convert.ts";
import { type UserId, userId } from "../ids.ts";
import type { IdentityClient, NewUser, User, UserChange } from "../identity/types.ts";
import { itemsOf } from "../pages.ts";
import { Checks } from "./checks.ts";
import { type FakeControl, type FakeOptions, Gate, type Source, sourceOf } from "./control.ts";
import { search } from "./identity-search.ts";
import { pageOf } from "./paging.ts";
import { Remembered } from "./remembered.ts";

/** A message that Identity would have sent. */
export interface SentMessage {
  readonly kind: "email-verification" | "password-reset";
  readonly to: string;
  readonly userId: UserId;
  readonly token: string;
}

export interface FakeIdentityOptions extends FakeOptions {
  /** Told when the sessions of a user must end, before the call that is the reason answers: `(userId) => auth.endUserSessions({ userId })`. */
  readonly endSessions?: (userId: UserId) => Promise<unknown>;
}

/** Identity in memory, with what a test may have it do. */
export interface FakeIdentity extends IdentityClient {
  readonly control: FakeControl<keyof IdentityClient> & {
    /** What was sent, the oldest first. */
    readonly messages: readonly SentMessage[];
  };
}

/** A fake of Identity that answers as the contract says. Passwords are kept as they are: give it none that anybody uses. */
export function fakeIdentity(options: FakeIdentityOptions = {}): FakeIdentity {
  const gate = new Gate<keyof IdentityClient>();
  const store = new Store(sourceOf(options), options.endSessions);
  return { ...clientOf(store, gate), control: Object.assign(gate, { messages: store.messages }) };
}

/** How long tokens in messages are taken, in milliseconds. */
const tokenLivesMs = 3_600_000;
/** Messages to one user in an hour. */
const maxMessages = 5;

interface Sent extends SentMessage {
  readonly atMs: number;
  isVoid: boolean;
}

class Store {
  readonly users = new Map<UserId, User>();
  readonly messages: Sent[] = [];
  readonly created: Remembered<NewUser, User>;
  readonly source: Source;
  readonly #passwords = new Map<UserId, string>();
  readonly #endSessions: (userId: UserId) => Promise<unknown>;

  constructor(source: Source, endSessions: (userId: UserId) => Promise<unknown> = async () => {}) {
    this.source = source;
    this.created = new Remembered(source.clock);
    this.#endSessions = endSessions;
  }

  /** @throws AppError `ERR_IDENTITY_EMAIL_TAKEN`, `ERR_IDENTITY_PASSWORD_WEAK`. */
  create({ email, displayName = "", locale, attributes = {}, password }: NewUser): User {
    this.requireFree(email);
    if (password !== undefined) requireStrong(password);
    const now = this.source.now();
    const id = userId(`u-${this.source.hex(8)}`);
    const fields = { email, displayName, locale, attributes: { ...attributes }, state: "active" as const };
    const user = this.#put({ userId: id, ...fields, createdAt: now, updatedAt: now, etag: "" });
    if (password !== undefined) this.#passwords.set(id, password);
    return user;
  }

  /** @throws AppError `ERR_IDENTITY_USER_NOT_FOUND`. */
  get(id: UserId): User {
    const user = this.users.get(id);
    if (user === undefined) throw AppError.notFound("ERR_IDENTITY_USER_NOT_FOUND", `there is no user ${id}`);
    return user;
  }

  /** @throws AppError `ERR_IDENTITY_USER_NOT_FOUND`, `ERR_IDENTITY_ETAG`. */
  getFor(id: UserId, etag: string | undefined): User {
    const user = this.get(id);
    if (etag === undefined || etag === user.etag) return user;
    throw AppError.aborted("ERR_IDENTITY_ETAG", `user ${id} has changed since; read the user again`);
  }

  change(user: User, change: Partial<User>): User {
    return this.#put({ ...user, ...change, updatedAt: this.source.now() });
  }

  byEmail(email: string): User | undefined {
    return this.users.values().find((user) => user.email.toLowerCase() === email.toLowerCase());
  }

  /** @throws AppError `ERR_IDENTITY_EMAIL_TAKEN`. */
  requireFree(email: string, but?: UserId): void {
    const user = this.byEmail(email);
    if (user === undefined || user.userId === but) return;
    throw AppError.alreadyExists("ERR_IDENTITY_EMAIL_TAKEN", "another user has this address");
  }

  /** @throws AppError `ERR_IDENTITY_CREDENTIALS`. */
  verify(email: string, password: string): User {
    const user = this.byEmail(email);
    if (user && this.#passwords.get(user.userId) === password) return user;
    throw AppError.unauthenticated("ERR_IDENTITY_CREDENTIALS", "address or password is wrong");
  }

  setPassword(id: UserId, password: string): void {
    this.#passwords.set(id, password);
  }

  async endSessions(id: UserId): Promise<void> {
    await this.#endSessions(id);
  }

  /** The messages of one kind that a user was sent in the last hour. */
  recent(id: UserId, kind: SentMessage["kind"]): readonly Sent[] {
    const since = this.source.clock.monotonicMs() - tokenLivesMs;
    return this.messages.filter((sent) => sent.userId === id && sent.kind === kind && sent.atMs > since);
  }

  /** Voids what was sent before. */
  send(kind: SentMessage["kind"], { userId, email }: User): Date {
    for (const sent of this.recent(userId, kind)) sent.isVoid = true;
    const atMs = this.source.clock.monotonicMs();
    this.messages.push({ kind, to: email, userId, token: `m-${this.source.hex(16)}`, atMs, isVoid: false });
    return new Date(this.source.clock.now() + tokenLivesMs);
  }

  /** @throws AppError `ERR_IDENTITY_TOKEN_INVALID`. */
  take(token: string, kind: SentMessage["kind"]): Sent {
    const since = this.source.clock.monotonicMs() - tokenLivesMs;
    const sent = this.messages.find((one) => one.token === token && one.kind === kind);
    const user = sent && this.users.get(sent.userId);
    if (sent && user?.email === sent.to && !sent.isVoid && sent.atMs > since) return sent;
    throw AppError.failedPrecondition("ERR_IDENTITY_TOKEN_INVALID", "the token is not valid; have another one sent");
  }

  #put(user: User): User {
    const put = compact({ ...user, etag: this.source.hex(8) });
    this.users.set(put.userId, put);
    return put;
  }
}

/** @throws AppError `ERR_IDENTITY_PASSWORD_WEAK`. */
function requireStrong(password: string): void {
  if (password.length >= 12 && password.length <= 1_024) return;
  throw AppError.invalidArgument("ERR_IDENTITY_PASSWORD_WEAK", "the password must have 12 to 1024 characters");
}

function checkUser(
  { email, displayName = "", locale = "", attributes = {} }: Omit<UserChange, "userId">,
  base = "",
): Checks {
  const checks = new Checks().length(displayName, `${base}/display_name`, { max: 200 });
  checks.length(locale, `${base}/locale`, { max: 35 });
  checks.attributes(attributes, `${base}/attributes`, { max: 32, maxLength: 512 });
  if (email !== undefined)
    checks
      .length(email, `${base}/email`, { min: 3, max: 254 })
      .that(/^[^@\s]+@[^@\s]+$/.test(email), `${base}/email`, "must have one @ that is neither first nor last");
  return checks;
}

function clientOf(store: Store, gate: Gate<keyof IdentityClient>): IdentityClient {
  const client: IdentityClient = {
    async createUser(user, options) {
      await gate.enter("createUser", options);
      const { requestId = store.source.hex(16), ...fields } = user;
      checkUser(fields).requestId(requestId).done();
      return store.created.once(requestId, fields, () => store.create(fields));
    },
    async getUser(id, options) {
      await gate.enter("getUser", options);
      return store.get(id);
    },
    async batchGetUsers(ids, options) {
      await gate.enter("batchGetUsers", options);
      new Checks().size(ids.length, "/user_ids", { min: 1, max: 100 }).done();
      const wanted = [...new Set(ids)];
      return {
        users: wanted.flatMap((id) => store.users.get(id) ?? []),
        missing: wanted.filter((id) => !store.users.has(id)),
      };
    },
    async updateUser({ userId: id, etag, ...given }, options) {
      await gate.enter("updateUser", options);
      const change: Omit<UserChange, "userId"> = compact({ ...given });
      checkUser(change, "/user")
        .that(Object.keys(change).length > 0, "/update_mask", "must name a field")
        .done();
      const user = store.getFor(id, etag);
      const { email, displayName = user.displayName, locale = user.locale, attributes = user.attributes } = change;
      if (email !== undefined) store.requireFree(email, id);
      const isMoved = email !== undefined && email !== user.email;
      return store.change(user, {
        displayName,
        locale: locale === "" ? undefined : locale,
        attributes: { ...attributes },
        email: email ?? user.email,
        emailVerifiedAt: isMoved ? undefined : user.emailVerifiedAt,
      });
    },
    searchUsers: (query = {}, options) =>
      itemsOf((pageToken) => client.searchUsersPage({ ...query, pageToken }, options), query.pageToken),
    async searchUsersPage(query = {}, options) {
      await gate.enter("searchUsersPage", options);
      new Checks().length(query.text ?? "", "/text", { max: 100 }).done();
      return pageOf(search([...store.users.values()], query), query);
    },
    async disableUser({ userId: id, reason, etag }, options) {
      await gate.enter("disableUser", options);
      new Checks().length(reason ?? "", "/reason", { max: 500 }).done();
      const user = store.getFor(id, etag);
      const disabled =
        user.state === "disabled"
          ? user
          : store.change(user, { state: "disabled", disabledReason: reason || undefined });
      await store.endSessions(id);
      return disabled;
    },
    async enableUser({ userId: id, etag }, options) {
      await gate.enter("enableUser", options);
      const user = store.getFor(id, etag);
      return user.state === "active" ? user : store.change(user, { state: "active", disabledReason: undefined });
    },
    async startEmailVerification(id, options) {
      await gate.enter("startEmailVerification", options);
      const user = store.get(id);
      if (user.emailVerifiedAt !== undefined) return undefined;
      if (store.recent(id, "email-verification").length >= maxMessages)
        throw AppError.resourceExhausted(
          "ERR_IDENTITY_TOO_MANY_MESSAGES",
          `${maxMessages} messages were sent within the hour`,
          {
            metadata: { retry_after_seconds: "3600" },
          },
        );
      return store.send("email-verification", user);
    },
    async confirmEmail(token, options) {
      await gate.enter("confirmEmail", options);
      const user = store.get(store.take(token, "email-verification").userId);
      return user.emailVerifiedAt === undefined ? store.change(user, { emailVerifiedAt: store.source.now() }) : user;
    },
    async startPasswordReset(email, options) {
      await gate.enter("startPasswordReset", options);
      checkUser({ email }).done();
      const user = store.byEmail(email);
      if (user?.state !== "active" || store.recent(user.userId, "password-reset").length >= maxMessages) return;
      store.send("password-reset", user);
    },
    async confirmPasswordReset({ token, newPassword }, options) {
      await gate.enter("confirmPasswordReset", options);
      const sent = store.take(token, "password-reset");
      requireStrong(newPassword);
      sent.isVoid = true;
      store.setPassword(sent.userId, newPassword);
      await store.endSessions(sent.userId);
      return sent.userId;
    },
    async verifyPassword({ email, password }, options) {
      await gate.enter("verifyPassword", options);
      return store.verify(email, password);
    },
  };
  return client;
}
