/** One page of a list. */
export interface Page<T> {
  readonly items: readonly T[];
  /** For the next page. Absent: this is the last. */
  readonly nextPageToken?: string | undefined;
}

/** Which page of a list. */
export interface PageRequest {
  /** Items at most, from 1; a service cuts it to what its contract says. Default: what its contract says, mostly 50. */
  readonly pageSize?: number | undefined;
  /** From the page before, with all else as it was. Absent: the first page. */
  readonly pageToken?: string | undefined;
}

/** All items of a list, page by page: the next page is asked for when the one before has been read. */
export async function* itemsOf<T>(
  pageAt: (pageToken: string | undefined) => Promise<Page<T>>,
  first?: string,
): AsyncGenerator<T> {
  let pageToken = first;
  do {
    const page = await pageAt(pageToken);
    yield* page.items;
    pageToken = page.nextPageToken;
  } while (pageToken !== undefined);
}
