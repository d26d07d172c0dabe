import { describe, expect, test } from '@jest/globals';
import { Slots } from '../slots.ts';

const never = new AbortController().signal;

function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

describe('Slots', () => {
  test('runs as many at once as there are slots, the rest in order', async () => {
    const slots = new Slots(2);
    const gates = [gate(), gate(), gate(), gate()];
    const started: number[] = [];
    const runs = gates.map(({ opened }, index) =>
      slots.run(never, async () => {
        started.push(index);
        await opened;
        return index;
      }),
    );
    await new Promise(setImmediate);
    expect(started).toEqual([0, 1]);
    gates[1]?.open();
    await runs[1];
    await new Promise(setImmediate);
    expect(started).toEqual([0, 1, 2]);
    for (const { open } of gates) open();
    expect(await Promise.all(runs)).toEqual([0, 1, 2, 3]);
  });

  test('a failing work frees its slot', async () => {
    const slots = new Slots(1);
    await expect(slots.run(never, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await slots.run(never, async () => 'yes')).toBe('yes');
  });

  test('one who waits can leave, and does not take a slot with it', async () => {
    const slots = new Slots(1);
    const first = gate();
    const running = slots.run(never, () => first.opened);
    const leaving = new AbortController();
    const left = slots.run(leaving.signal, async () => 'ran');
    const third = slots.run(never, async () => 'third');
    leaving.abort(new Error('left'));
    await expect(left).rejects.toThrow('left');
    first.open();
    await running;
    expect(await third).toBe('third');
    await expect(slots.run(leaving.signal, async () => 'ran')).rejects.toThrow('left');
  });
});
