/**
 * Runs `work` on each item, in order, at most `limit` at once. Starts no more once one has failed.
 *
 * @returns the results, in the items' order
 * @throws the first failure, after those under way have ended
 */
export async function mapConcurrently<Item, Result>(
  items: readonly Item[],
  limit: number,
  work: (item: Item, number: number) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  const open = items.entries();
  const failures: unknown[] = [];
  const lane = async () => {
    for (const [number, item] of open) {
      if (failures.length > 0) return;
      try {
        results[number] = await work(item, number);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: limit }, lane));
  if (failures.length > 0) throw failures[0];
  return results;
}
