import { setMaxListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { LongPoll } from '../tasks/long-poll.ts';

/** A state that is read like a database: counts the reads, which answer when the test says so. */
class Source {
  reads = 0;
  state = 0;
  failure: Error | undefined;
  #gate: Promise<void> = Promise.resolve();
  #open: () => void = () => {};

  readonly read = async (): Promise<number> => {
    this.reads += 1;
    const { state } = this;
    await this.#gate;
    if (this.failure !== undefined) throw this.failure;
    return state;
  };

  hold(): void {
    this.#gate = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  release(): void {
    this.#open();
    this.#gate = Promise.resolve();
  }
}

const forever = { milliseconds: 60_000, signal: new AbortController().signal };
setMaxListeners(0, forever.signal);
const settle = () => new Promise((resolve) => setImmediate(resolve));

describe('LongPoll', () => {
  beforeEach(
    () => void jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate', 'performance'] }),
  );
  afterEach(() => {
    // Whoever waited is answered: nothing is watched any more.
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
  });

  test('answers at once when the first state is the answer', async () => {
    const poll = new LongPoll(new Source().read);
    await expect(poll.wait('a', () => true, forever)).resolves.toBe(0);
  });

  test('one event costs one read, however many wait', async () => {
    const source = new Source();
    const poll = new LongPoll(source.read);
    const waiting = Array.from({ length: 500 }, () => poll.wait('a', (state) => state > 0, forever));
    await settle();
    const before = source.reads;
    expect(before).toBeLessThanOrEqual(2);
    source.state = 1;
    poll.changed('a');
    expect(new Set(await Promise.all(waiting))).toEqual(new Set([1]));
    expect(source.reads).toBe(before + 1);
  });

  test('an event during a read is not lost: what was read may be older', async () => {
    const source = new Source();
    const poll = new LongPoll(source.read);
    source.hold();
    const waiting = poll.wait('a', (state) => state > 0, forever);
    source.state = 1;
    poll.changed('a');
    source.release();
    await expect(waiting).resolves.toBe(1);
  });

  test('events of other tasks cost nothing', async () => {
    const source = new Source();
    const poll = new LongPoll(source.read);
    poll.changed('b');
    await settle();
    expect(source.reads).toBe(0);
  });

  test('over time it answers with the last state', async () => {
    const poll = new LongPoll(new Source().read);
    const waiting = poll.wait('a', () => false, { ...forever, milliseconds: 1 });
    await settle();
    jest.advanceTimersByTime(1);
    await expect(waiting).resolves.toBe(0);
  });

  test('a wait that ends before the first read answers with that read', async () => {
    const source = new Source();
    const poll = new LongPoll(source.read);
    source.hold();
    const waiting = poll.wait('a', () => false, { ...forever, signal: AbortSignal.abort() });
    await settle();
    source.release();
    await expect(waiting).resolves.toBe(0);
  });

  test('a stop ends every wait', async () => {
    const stop = new AbortController();
    const poll = new LongPoll(new Source().read);
    const waiting = ['a', 'a', 'b'].map((id) => poll.wait(id, () => false, { ...forever, signal: stop.signal }));
    await settle();
    stop.abort();
    await expect(Promise.all(waiting)).resolves.toEqual([0, 0, 0]);
  });

  test('a failed read fails who waits, and not who comes later', async () => {
    const source = new Source();
    const poll = new LongPoll(source.read);
    source.failure = new Error('away');
    await expect(poll.wait('a', () => true, forever)).rejects.toThrow('away');
    source.failure = undefined;
    await expect(poll.wait('a', () => true, forever)).resolves.toBe(0);
  });

  test('changedAll reads everything that is waited for', async () => {
    const source = new Source();
    const poll = new LongPoll(source.read);
    const waiting = ['a', 'b'].map((id) => poll.wait(id, (state) => state > 0, forever));
    await settle();
    source.state = 1;
    poll.changedAll();
    await expect(Promise.all(waiting)).resolves.toEqual([1, 1]);
  });

  test('a change without an event is found all the same', async () => {
    const source = new Source();
    const waiting = new LongPoll(source.read).wait('a', (state) => state > 0, forever);
    await settle();
    source.state = 1;
    jest.advanceTimersByTime(5_000);
    await expect(waiting).resolves.toBe(1);
  });
});
