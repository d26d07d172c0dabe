/** What a soak did and found. */
export class Tally {
  completed = 0;
  /** Layers whose bytes came wrong and were fetched again. */
  refetched = 0;
  requests = 0;
  bytes = 0;
  /** Pulls that ended with an error, by its code. */
  readonly refused = new Counts();
  /** Attempts that failed and were made again, by the error's code. */
  readonly retries = new Counts();
  readonly violations: string[] = [];
}

class Counts {
  readonly #counts = new Map<string, number>();

  add(name: string): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  toString(): string {
    const entries = [...this.#counts].sort().map(([name, count]) => `${name} ${count}`);
    return entries.join(', ') || 'none';
  }
}
