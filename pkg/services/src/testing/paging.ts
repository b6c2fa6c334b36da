import { createHash } from "node:crypto";
import { compact } from "../convert.ts";
import { ServicesError } from "../errors.ts";
import type { Page, PageRequest } from "../pages.ts";

/** Where a page begins, and in which state of the list. */
export interface PageStart {
  readonly offset: number;
  /** What the first page has said of the state that it shows. 0 where lists are shown as they are. */
  readonly state: number;
}

/**
 * Reads a token that {@link pageOf} has made for the same query.
 * @throws ServicesError `ERR_PAGE_TOKEN`.
 */
export function startOf(query: PageRequest): PageStart | undefined {
  const { pageToken } = query;
  if (pageToken === undefined) return undefined;
  const [, offset, state, mark] = /^p1\.(\d{1,9})\.(\d{1,9})\.([\w-]{16})$/.exec(pageToken) ?? [];
  if (mark === undefined || mark !== fingerprint(query)) throw badPageToken();
  return { offset: Number(offset), state: Number(state) };
}

export function badPageToken(): ServicesError {
  return new ServicesError(
    "ERR_PAGE_TOKEN",
    "invalid_argument",
    "this is no page token for this query; begin with the first page, and leave all else as it was",
  );
}

/** One page of a list. @param max - What larger sizes are cut to. */
export function pageOf<T>(
  all: readonly T[],
  query: PageRequest,
  { state = 0, max = 200 }: { readonly state?: number; readonly max?: number } = {},
): Page<T> {
  const offset = startOf(query)?.offset ?? 0;
  const end = offset + Math.min(query.pageSize ?? 50, max);
  const nextPageToken = end < all.length ? `p1.${end}.${state}.${fingerprint(query)}` : undefined;
  return compact({ items: all.slice(offset, end), nextPageToken });
}

/** The same for the same values, whatever the order of their keys; fields that are undefined do not count, nor do those of the page. */
export function fingerprint(query: object): string {
  const rest = Object.fromEntries(Object.entries(query).filter(([key]) => key !== "pageSize" && key !== "pageToken"));
  return createHash("sha256").update(stable(rest)).digest("base64url").slice(0, 16);
}

function stable(value: unknown): string {
  if (value instanceof Date || typeof value !== "object" || value === null) return JSON.stringify(value) ?? "";
  if (Array.isArray(value)) return `[${value.map(stable).join()}]`;
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  return `{${entries
    .map(([key, item]) => `${JSON.stringify(key)}:${stable(item)}`)
    .toSorted()
    .join()}}`;
}
