import assert from "node:assert/strict";
import { identityErrors } from "../identity/errors.ts";
import type { IdentityClient } from "../identity/types.ts";
import { userId } from "../ids.ts";
import { allOf, type ContractCase, failsWith, freshName } from "./contract.ts";

export interface IdentityContractOptions {
  /** The client under test, asked for by each case. Its service may be used by others; the cases make users of their own. */
  readonly client: () => IdentityClient;
  /** The token in the last message of this kind to an address; undefined where there was none. */
  readonly tokenSentTo: (
    email: string,
    kind: "email-verification" | "password-reset",
  ) => string | undefined | Promise<string | undefined>;
}

const password = "correct horse battery";

/** What every service and client of `plinth.identity.v1` does, errors included. */
export function identityContract({ client, tokenSentTo }: IdentityContractOptions): readonly ContractCase[] {
  const fails = (work: Promise<unknown>, code: string) => failsWith(work, code, identityErrors);
  const email = () => `${freshName()}@example.com`;
  const sent = async (...args: Parameters<typeof tokenSentTo>): Promise<string> => {
    const token = await tokenSentTo(...args);
    assert.ok(token, "no message was sent");
    return token;
  };
  return [
    {
      name: "makes a user, and gives it as it was made",
      run: async () => {
        const [address, attributes] = [email(), { team: "blue", "": "" }];
        Reflect.deleteProperty(attributes, "");
        const user = await client().createUser({
          email: address,
          displayName: "Ada L.",
          locale: "en-GB",
          attributes,
          password,
        });
        const { userId: _, createdAt, updatedAt, etag, ...rest } = user;
        assert.deepEqual(rest, { email: address, displayName: "Ada L.", locale: "en-GB", attributes, state: "active" });
        assert.ok(createdAt instanceof Date && createdAt.getTime() === updatedAt.getTime());
        assert.notEqual(etag, "");
        assert.deepEqual(await client().getUser(user.userId), user);
        await fails(client().getUser(userId("nobody")), "ERR_IDENTITY_USER_NOT_FOUND");
      },
    },
    {
      name: "makes a user once for one request id, and refuses another under it",
      run: async () => {
        const request = { email: email(), requestId: freshName("request-") };
        const user = await client().createUser(request);
        assert.deepEqual(await client().createUser(request), user);
        await fails(client().createUser({ ...request, displayName: "other" }), "ERR_REQUEST_ID_REUSED");
      },
    },
    {
      name: "keeps addresses apart without regard to case",
      run: async () => {
        const address = email();
        const [ada, bob] = [
          await client().createUser({ email: address }),
          await client().createUser({ email: email() }),
        ];
        await fails(client().createUser({ email: address.toUpperCase() }), "ERR_IDENTITY_EMAIL_TAKEN");
        await fails(
          client().updateUser({ userId: bob.userId, email: address.toUpperCase() }),
          "ERR_IDENTITY_EMAIL_TAKEN",
        );
        const own = await client().updateUser({ userId: ada.userId, email: address.toUpperCase() });
        assert.equal(own.email, address.toUpperCase());
      },
    },
    {
      name: "changes what is named, and only what the caller has seen",
      run: async () => {
        const user = await client().createUser({
          email: email(),
          displayName: "Ada",
          locale: "de",
          attributes: { a: "1" },
        });
        const { userId: id, etag } = user;
        const changed = await client().updateUser({ userId: id, displayName: "", attributes: { b: "2" }, etag });
        assert.deepEqual([changed.displayName, changed.attributes, changed.locale], ["", { b: "2" }, "de"]);
        assert.notEqual(changed.etag, etag);
        await fails(client().updateUser({ userId: id, displayName: "late", etag }), "ERR_IDENTITY_ETAG");
        assert.equal("locale" in (await client().updateUser({ userId: id, locale: "" })), false);
        await fails(client().updateUser({ userId: id }), "ERR_REQUEST_INVALID");
        await fails(client().updateUser({ userId: userId("nobody"), locale: "de" }), "ERR_IDENTITY_USER_NOT_FOUND");
      },
    },
    {
      name: "gets several users at once, and names who is not there",
      run: async () => {
        const [ada, bob] = [
          await client().createUser({ email: email() }),
          await client().createUser({ email: email() }),
        ];
        const nobody = userId(freshName("nobody-"));
        const batch = await client().batchGetUsers([bob.userId, nobody, ada.userId, bob.userId]);
        assert.deepEqual(batch, { users: [bob, ada], missing: [nobody] });
        await fails(client().batchGetUsers([]), "ERR_REQUEST_INVALID");
        await fails(client().batchGetUsers(Array.from({ length: 101 }, () => nobody)), "ERR_REQUEST_INVALID");
      },
    },
    {
      name: "searches by words, address and state, page by page",
      run: async () => {
        const word = freshName("word");
        const users = [];
        for (let at = 0; at < 5; at++)
          users.push(await client().createUser({ email: `${at}-${email()}`, displayName: `Ms ${word} ${at}` }));
        const query = { text: word.toUpperCase(), order: "email" as const, pageSize: 2 };
        assert.deepEqual(await allOf(client().searchUsers(query)), users);
        const page = await client().searchUsersPage(query);
        assert.deepEqual(page.items, users.slice(0, 2));
        const other = { ...query, state: "disabled" as const, pageToken: page.nextPageToken };
        await fails(client().searchUsersPage(other), "ERR_PAGE_TOKEN");
        const [first, second] = users;
        assert.ok(first && second);
        assert.deepEqual(await allOf(client().searchUsers({ email: first.email.toUpperCase() })), [first]);
        const disabled = await client().disableUser({ userId: second.userId });
        assert.deepEqual(await allOf(client().searchUsers({ text: word, state: "disabled" })), [disabled]);
        assert.deepEqual(await allOf(client().searchUsers({ text: word, createdBefore: new Date(0) })), []);
        assert.equal((await allOf(client().searchUsers({ text: word, createdFrom: first.createdAt }))).length, 5);
      },
    },
    {
      name: "disables and enables a user, once and again",
      run: async () => {
        const { userId: id, etag } = await client().createUser({ email: email() });
        const disabled = await client().disableUser({ userId: id, reason: "gone", etag });
        assert.deepEqual([disabled.state, disabled.disabledReason], ["disabled", "gone"]);
        assert.deepEqual(await client().disableUser({ userId: id, reason: "again" }), disabled);
        await fails(client().enableUser({ userId: id, etag }), "ERR_IDENTITY_ETAG");
        const enabled = await client().enableUser({ userId: id });
        assert.deepEqual([enabled.state, "disabledReason" in enabled], ["active", false]);
        await fails(client().disableUser({ userId: userId("nobody") }), "ERR_IDENTITY_USER_NOT_FOUND");
        await fails(client().enableUser({ userId: userId("nobody") }), "ERR_IDENTITY_USER_NOT_FOUND");
      },
    },
    {
      name: "verifies an address by the last token that was sent there, as long as it is the user's",
      run: async () => {
        const address = email();
        const { userId: id } = await client().createUser({ email: address });
        assert.ok((await client().startEmailVerification(id)) instanceof Date);
        const old = await sent(address, "email-verification");
        await client().startEmailVerification(id);
        await fails(client().confirmEmail(old), "ERR_IDENTITY_TOKEN_INVALID");
        const token = await sent(address, "email-verification");
        const verified = await client().confirmEmail(token);
        assert.ok(verified.emailVerifiedAt instanceof Date);
        assert.deepEqual(await client().confirmEmail(token), verified);
        assert.equal(await client().startEmailVerification(id), undefined);
        const moved = await client().updateUser({ userId: id, email: email() });
        assert.equal("emailVerifiedAt" in moved, false);
        await fails(client().confirmEmail(token), "ERR_IDENTITY_TOKEN_INVALID");
        await fails(client().startEmailVerification(userId("nobody")), "ERR_IDENTITY_USER_NOT_FOUND");
      },
    },
    {
      name: "sends a user a few messages in an hour, and says when to come back",
      run: async () => {
        const { userId: id } = await client().createUser({ email: email() });
        const many = async () => {
          for (let at = 0; at < 100; at++) await client().startEmailVerification(id);
        };
        const error = await fails(many(), "ERR_IDENTITY_TOO_MANY_MESSAGES");
        assert.match(error.metadata.retry_after_seconds ?? "", /^\d+$/);
      },
    },
    {
      name: "knows a password, and tells nobody what was wrong",
      run: async () => {
        const address = email();
        const user = await client().createUser({ email: address, password });
        assert.deepEqual(await client().verifyPassword({ email: address.toUpperCase(), password }), user);
        const wrong = await fails(
          client().verifyPassword({ email: address, password: "wrong" }),
          "ERR_IDENTITY_CREDENTIALS",
        );
        const unknown = await fails(client().verifyPassword({ email: email(), password }), "ERR_IDENTITY_CREDENTIALS");
        assert.equal(wrong.message, unknown.message);
        const disabled = await client().disableUser({ userId: user.userId });
        assert.deepEqual(await client().verifyPassword({ email: address, password }), disabled);
        await fails(client().createUser({ email: email(), password: "short" }), "ERR_IDENTITY_PASSWORD_WEAK");
      },
    },
    {
      name: "resets a password by a token that is good once, and tells nobody who there is",
      run: async () => {
        const [address, newPassword] = [email(), "another long password"];
        const { userId: id } = await client().createUser({ email: address, password });
        await client().startPasswordReset(address);
        const token = await sent(address, "password-reset");
        await fails(client().confirmPasswordReset({ token, newPassword: "short" }), "ERR_IDENTITY_PASSWORD_WEAK");
        assert.equal(await client().confirmPasswordReset({ token, newPassword }), id);
        await fails(client().confirmPasswordReset({ token, newPassword }), "ERR_IDENTITY_TOKEN_INVALID");
        await fails(client().verifyPassword({ email: address, password }), "ERR_IDENTITY_CREDENTIALS");
        assert.equal((await client().verifyPassword({ email: address, password: newPassword })).userId, id);
        const unknown = email();
        assert.equal(await client().startPasswordReset(unknown), undefined);
        assert.equal(await tokenSentTo(unknown, "password-reset"), undefined);
      },
    },
    {
      name: "refuses what breaks the contract, with every fault of it",
      run: async () => {
        const bad = { email: "nobody", displayName: "x".repeat(201), attributes: { "": "" } };
        const error = await fails(client().createUser(bad), "ERR_REQUEST_INVALID");
        const faults: unknown = Reflect.get(error, "faults");
        assert.ok(Array.isArray(faults) && faults.length >= 3, String(faults));
        await fails(client().createUser({ email: email(), requestId: "short" }), "ERR_REQUEST_INVALID");
      },
    },
    {
      name: "does nothing for a caller who has left",
      run: async () => {
        const address = email();
        await assert.rejects(client().createUser({ email: address }, { signal: AbortSignal.abort() }), {
          status: "cancelled",
        });
        assert.deepEqual(await allOf(client().searchUsers({ email: address })), []);
      },
    },
  ];
}
