import { ServicesError } from "./errors.ts";

declare const kind: unique symbol;

/** A text that is known to be an id of one kind: one of another kind, or any text, does not compile in its place. */
export type Id<Kind extends string> = string & { readonly [kind]: Kind };

export type UserId = Id<"user id">;
export type SessionId = Id<"session id">;
export type RoleId = Id<"role id">;
export type BindingId = Id<"binding id">;
export type EventId = Id<"event id">;

/** As ids are written in all contracts: what stands in a path, a header and a log line as it is. */
const idPattern = /^[A-Za-z0-9._:~@|-]{1,128}$/;

/**
 * A text as the id of a user: 1 to 128 of `A–Z a–z 0–9 . _ : ~ @ | -`. The others are made the same way.
 * @throws {@link ServicesError} `ERR_ID_INVALID`, without the text, which may be anything.
 */
export const userId = idOf("user id");
/** @throws {@link ServicesError} `ERR_ID_INVALID`. */
export const sessionId = idOf("session id");
/** A letter of `a–z` and up to 63 of `a–z 0–9 _ . -`. @throws {@link ServicesError} `ERR_ID_INVALID`. */
export const roleId = idOf("role id", /^[a-z][a-z0-9_.-]{0,63}$/, "a letter and up to 63 of a–z 0–9 _ . -");
/** @throws {@link ServicesError} `ERR_ID_INVALID`. */
export const bindingId = idOf("binding id");
/** 8 characters at least. @throws {@link ServicesError} `ERR_ID_INVALID`. */
export const eventId = idOf("event id", /^[A-Za-z0-9._:~@|-]{8,128}$/, "8 to 128 of A–Z a–z 0–9 . _ : ~ @ | -");

export function isPlainId(text: string): boolean {
  return idPattern.test(text);
}

function idOf<Kind extends string>(
  kind: Kind,
  pattern = idPattern,
  expected = "1 to 128 of A–Z a–z 0–9 . _ : ~ @ | -",
): (text: string) => Id<Kind> {
  const isOne = (text: string): text is Id<Kind> => typeof text === "string" && pattern.test(text);
  return (text) => {
    if (isOne(text)) return text;
    throw new ServicesError(
      "ERR_ID_INVALID",
      "invalid_argument",
      `this is no ${kind}: it must be ${expected}${text === "" ? ", and is empty" : ""}`,
      { metadata: { kind } },
    );
  };
}
