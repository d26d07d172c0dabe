import { describe, expect, test } from '@jest/globals';
import { DecodeSlots } from '../image/decode-slots.ts';
import { GrowingFile } from '../image/growing-file.ts';

const never = new AbortController().signal;
const forever = () => new Promise<never>(() => {});

function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

describe('DecodeSlots', () => {
  test('files on disk do not wait for downloads that are slow', async () => {
    const slots = new DecodeSlots(1);
    void slots.run(new GrowingFile(1000), never, forever);
    const ended: string[] = [];
    const downloading = new GrowingFile(1000);
    const later = slots.run(downloading, never, async () => ended.push('later'));
    const there = new GrowingFile(1000);
    there.grown(1000);
    await slots.run(there, never, async () => ended.push('there'));
    expect(ended).toEqual(['there']);
    downloading.grown(1000);
    await later;
    expect(ended).toEqual(['there', 'later']);
  });

  test('a download that is ahead of its decode counts like a file on disk', async () => {
    const slots = new DecodeSlots(1);
    const fast = new GrowingFile(10_000_000);
    fast.grown(5_000_000);
    void slots.run(fast, never, forever);
    const there = new GrowingFile(1000);
    there.grown(1000);
    let isStarted = false;
    const later = slots.run(there, never, async () => {
      isStarted = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(isStarted).toBe(false);
    // The decode has caught up, and waits now.
    fast.readUpTo(5_000_000);
    await later;
  });

  test('no slot is lost when both kinds come free at once, or a decode fails', async () => {
    const slots = new DecodeSlots(1);
    for (let round = 0; round < 3; round += 1) {
      const gates = [gate(), gate()];
      const files = [new GrowingFile(10), new GrowingFile(10), new GrowingFile(10)];
      for (const file of files) file.grown(10);
      const running = gates.map(({ opened }, index) =>
        slots.run(files[index] ?? new GrowingFile(0), never, () => opened),
      );
      const waiting = slots.run(files[2] ?? new GrowingFile(0), never, () => Promise.reject(new Error('broken')));
      for (const { open } of gates) open();
      await Promise.all(running);
      await expect(waiting).rejects.toThrow('broken');
    }
  });

  test('one who waits can leave, and takes no slot then', async () => {
    const slots = new DecodeSlots(1);
    const { opened, open } = gate();
    const first = slots.run(new GrowingFile(10), never, () => opened);
    const leaving = new AbortController();
    const left = slots.run(new GrowingFile(10), leaving.signal, forever);
    leaving.abort(new Error('left'));
    await expect(left).rejects.toThrow('left');
    await expect(slots.run(new GrowingFile(10), leaving.signal, forever)).rejects.toThrow('left');
    open();
    await first;
    expect(await slots.run(new GrowingFile(10), never, async () => 'decoded')).toBe('decoded');
  });
});
