import type { User, UserOrder, UserQuery } from "../identity/types.ts";

/** The users that fit a query, in its order. */
export function search(users: readonly User[], query: UserQuery): readonly User[] {
  const { order = "newest" } = query;
  return users.filter((user) => fits(user, query)).toSorted(orders[order]);
}

function fits(user: User, { text, email, state, createdFrom, createdBefore }: UserQuery): boolean {
  return (
    (text === undefined || hasText(user, text.toLowerCase())) &&
    (email === undefined || user.email.toLowerCase() === email.toLowerCase()) &&
    (state === undefined || user.state === state) &&
    (createdFrom === undefined || user.createdAt >= createdFrom) &&
    (createdBefore === undefined || user.createdAt < createdBefore)
  );
}

function hasText({ email, displayName }: User, text: string): boolean {
  const name = displayName.toLowerCase();
  const words = name.split(/\s+/);
  return email.toLowerCase().startsWith(text) || name.startsWith(text) || words.some((word) => word.startsWith(text));
}

const byId = (a: User, b: User): number => (a.userId < b.userId ? -1 : 1);

const orders: Readonly<Record<UserOrder, (a: User, b: User) => number>> = {
  newest: (a, b) => b.createdAt.getTime() - a.createdAt.getTime() || byId(a, b),
  oldest: (a, b) => a.createdAt.getTime() - b.createdAt.getTime() || byId(a, b),
  email: (a, b) => compare(a.email.toLowerCase(), b.email.toLowerCase()) || byId(a, b),
};

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
