/** Values that a new column has room for. */
const FIRST = 1024;

/**
 * A list of unsigned 32-bit numbers that grows, four bytes each. What holds a tree of 500,000 inodes is made of these: as objects,
 * each inode took over a kilobyte, and V8's collector walked all of them again and again.
 */
export class Uint32Column {
  #values = new Uint32Array(FIRST);

  /** The value at a place; 0 where none was set. */
  get(at: number): number {
    return this.#values[at] ?? 0;
  }

  set(at: number, value: number): void {
    if (at >= this.#values.length) {
      const grown = new Uint32Array(room(at));
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[at] = value;
  }
}

/** The same of any number that JavaScript has, eight bytes each. */
export class Float64Column {
  #values = new Float64Array(FIRST);

  get(at: number): number {
    return this.#values[at] ?? 0;
  }

  set(at: number, value: number): void {
    if (at >= this.#values.length) {
      const grown = new Float64Array(room(at));
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[at] = value;
  }
}

function room(at: number): number {
  return Math.ceil((at + 1) * 1.5);
}
