// Between the messages of plinth.identity.v1 and plain values.
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  compact,
  fromPageFields,
  invalid,
  requestWord,
  required,
  textOf,
  toDate,
  toPageFields,
  toTimestamp,
  wordsOf,
} from "../convert.ts";
import type {
  CreateUserRequest,
  CreateUserRequestSchema,
  SearchUsersRequest,
  SearchUsersRequestSchema,
  UpdateUserRequest,
  UpdateUserRequestSchema,
  User as UserMessage,
  UserSchema,
} from "../gen/plinth/identity/v1/identity_pb.ts";
import { UserOrder as OrderNumber, UserState as StateNumber } from "../gen/plinth/identity/v1/identity_pb.ts";
import { userId } from "../ids.ts";
import type { PageRequest } from "../pages.ts";
import type { NewUser, User, UserChange, UserQuery } from "./types.ts";

const states = wordsOf({ active: StateNumber.ACTIVE, disabled: StateNumber.DISABLED }, StateNumber.UNSPECIFIED);
const orders = wordsOf(
  { newest: OrderNumber.NEWEST, oldest: OrderNumber.OLDEST, email: OrderNumber.EMAIL },
  OrderNumber.UNSPECIFIED,
);

export function toUserMessage(user: User): MessageInitShape<typeof UserSchema> {
  const { emailVerifiedAt, locale = "", disabledReason = "", state, createdAt, updatedAt, ...rest } = user;
  return {
    ...rest,
    locale,
    disabledReason,
    attributes: { ...user.attributes },
    emailVerifiedAt: toTimestamp(emailVerifiedAt),
    state: states.toNumber(state === "other" ? undefined : state),
    createdAt: toTimestamp(createdAt),
    updatedAt: toTimestamp(updatedAt),
  };
}

export function fromUserMessage(given: UserMessage | undefined): User {
  const user = required(given, "/user");
  return compact({
    userId: userId(user.userId),
    email: user.email,
    emailVerifiedAt: toDate(user.emailVerifiedAt),
    displayName: user.displayName,
    locale: textOf(user.locale),
    attributes: { ...user.attributes },
    state: states.toWord(user.state) ?? "other",
    disabledReason: textOf(user.disabledReason),
    createdAt: toDate(required(user.createdAt, "/user/created_at")),
    updatedAt: toDate(required(user.updatedAt, "/user/updated_at")),
    etag: user.etag,
  });
}

export function toCreateRequest(
  user: NewUser,
  newRequestId: () => string,
): MessageInitShape<typeof CreateUserRequestSchema> {
  const { email, displayName = "", locale = "", attributes = {}, password = "", requestId = newRequestId() } = user;
  return { email, displayName, locale, attributes: { ...attributes }, password, requestId };
}

export function fromCreateRequest({
  email,
  displayName,
  locale,
  attributes,
  password,
  requestId,
}: CreateUserRequest): NewUser {
  return compact({
    email,
    displayName,
    locale: textOf(locale),
    attributes: { ...attributes },
    password: textOf(password),
    requestId: required(requestId, "/request_id"),
  });
}

const changeable = ["email", "display_name", "locale", "attributes"] as const;

export function toUpdateRequest(change: UserChange): MessageInitShape<typeof UpdateUserRequestSchema> {
  const { userId, email, displayName, locale, attributes, etag = "" } = change;
  const given = { email, display_name: displayName, locale, attributes };
  return {
    user: {
      userId,
      etag,
      email: email ?? "",
      displayName: displayName ?? "",
      locale: locale ?? "",
      attributes: { ...attributes },
    },
    updateMask: { paths: changeable.filter((path) => given[path] !== undefined) },
  };
}

/** @throws RequestError for a mask that is empty, or names what cannot be changed. */
export function fromUpdateRequest({ user, updateMask }: UpdateUserRequest): UserChange {
  const { email, displayName, locale, attributes, etag, ...rest } = required(user, "/user");
  const paths = updateMask?.paths ?? [];
  if (paths.length === 0) throw invalid("/update_mask", "must name a field");
  const isKnown = (path: string): boolean => changeable.some((known) => known === path);
  const unknown = paths.find((path) => !isKnown(path));
  if (unknown !== undefined) throw invalid("/update_mask", `names what is not one of ${changeable.join(", ")}`);
  const has = (path: (typeof changeable)[number]): boolean => paths.includes(path);
  return compact({
    userId: userId(rest.userId),
    email: has("email") ? email : undefined,
    displayName: has("display_name") ? displayName : undefined,
    locale: has("locale") ? locale : undefined,
    attributes: has("attributes") ? { ...attributes } : undefined,
    etag: textOf(etag),
  });
}

export function toSearchRequest(query: UserQuery & PageRequest): MessageInitShape<typeof SearchUsersRequestSchema> {
  const { text = "", email = "", state, createdFrom, createdBefore, order } = query;
  return {
    text,
    email,
    state: states.toNumber(state),
    createdFrom: toTimestamp(createdFrom),
    createdBefore: toTimestamp(createdBefore),
    order: orders.toNumber(order),
    ...toPageFields(query),
  };
}

export function fromSearchRequest(request: SearchUsersRequest): UserQuery & PageRequest {
  return compact({
    text: textOf(request.text),
    email: textOf(request.email),
    state: requestWord(states, request.state, "/state"),
    createdFrom: toDate(request.createdFrom),
    createdBefore: toDate(request.createdBefore),
    order: requestWord(orders, request.order, "/order"),
    ...fromPageFields(request),
  });
}
