// A few things at a time, in order.

/**
 * Calls `work` for each item, at most `width` at once, begun in order; gives the results in order. `more` is asked before
 * each begin: false leaves the rest undone. Rejects with the first error, after what had begun has ended.
 */
export async function inParallel<Item, Result>(items: readonly Item[], width: number, work: (item: Item, index: number) => Promise<Result>, more = (): boolean => true): Promise<Result[]> {
  const results: Result[] = [];
  let failed = false;
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length && !failed && more()) {
      const index = next++;
      try {
        results[index] = await work(items[index]!, index);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: Math.min(width, items.length) }, worker));
  const rejected = ends.find((end) => end.status === 'rejected');
  if (rejected) throw rejected.reason;
  return results;
}
