/** Ms before the same is told again. */
const QUIET = 60_000;

/** Which problems a log has told, for those that show themselves again and again: each is told once, and once a minute while it lasts. */
export class RecentlyTold {
  /** When each was told, by `performance.now()`. */
  readonly #at = new Map<string, number>();

  /** Whether the problem is to be told now, which then counts as done. */
  isDue(problem: string): boolean {
    const now = performance.now();
    for (const [text, at] of this.#at) if (now - at >= QUIET) this.#at.delete(text);
    if (this.#at.has(problem)) return false;
    this.#at.set(problem, now);
    return true;
  }

  /** The problems are over: should one come back, it is another. Returns whether there were any. */
  end(): boolean {
    const { size } = this.#at;
    this.#at.clear();
    return size > 0;
  }
}
