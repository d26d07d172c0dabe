/** Items asked for at once. */
const PAGE_LIMIT = 500;

export interface Page<Item> {
  readonly items: readonly Item[];
  /** Where the next page begins. */
  readonly next?: string | null;
}

/** Reads page after page until there are `limit` items or no more. `read` gets the query: `limit`, and from the second page on `cursor`. */
export async function readPages<Item>(
  limit: number,
  read: (query: Record<string, string>) => Promise<Page<Item>>,
): Promise<Item[]> {
  const items: Item[] = [];
  let cursor: string | undefined;
  do {
    const size = Math.min(limit - items.length, PAGE_LIMIT);
    const page = await read({ limit: String(size), ...(cursor !== undefined && { cursor }) });
    items.push(...page.items);
    cursor = page.next ?? undefined;
  } while (cursor !== undefined && items.length < limit);
  return items.slice(0, limit);
}
