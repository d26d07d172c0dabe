import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { CHUNK, copyChunks, GAP, SPAN } from '../ext4/copy-chunk.ts';
import { addCopyRun, type CopyRun } from '../ext4/copy-run.ts';
import { BLOCK_SIZE } from '../ext4/format.ts';

/** Runs as an image has them: of layers in order, with gaps in their data (files that are gone) and in the image (metadata). */
const runs = fc
  .array(
    fc.record({
      layer: fc.nat(1),
      blocks: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 700 })),
      gap: fc.oneof(fc.nat(9), fc.nat(700)),
      jump: fc.oneof(fc.constant(0), fc.constant(0), fc.nat(3)),
    }),
    { maxLength: 60 },
  )
  .map((list) => {
    const made: CopyRun[] = [];
    const next = [0, 0];
    let to = 10;
    for (const { layer, blocks, gap, jump } of list.sort((a, b) => a.layer - b.layer)) {
      const from = (next[layer] ?? 0) + gap;
      to += jump;
      addCopyRun(made, { layer, from, to, blocks });
      next[layer] = from + blocks;
      to += blocks;
    }
    return made;
  });

/** A block of a layer, and where it goes in the image. */
const move = (layer: number, from: number, to: number): string => `${layer}:${from}>${to}`;

/** Block for block, what goes where. */
function mapping(list: readonly CopyRun[]): string[] {
  return list.flatMap(({ layer, from, to, blocks }) =>
    Array.from({ length: blocks }, (_, i) => move(layer, from + i, to + i)),
  );
}

describe('chunks of what is copied', () => {
  test('copy every block to its place, once, within their limits', () => {
    const buffer = Buffer.alloc(SPAN);
    fc.assert(
      fc.property(runs, (list) => {
        const copied: string[] = [];
        for (const chunk of copyChunks(list)) {
          expect(chunk.bytes).toBeLessThanOrEqual(CHUNK);
          expect(chunk.span).toBeLessThanOrEqual(SPAN);
          // A span whose blocks each hold their own number.
          for (let at = 0; at < chunk.span; at += BLOCK_SIZE) buffer.writeUInt32LE(chunk.from + at, at);
          chunk.closeGaps(buffer);
          for (let at = 0; at < chunk.bytes; at += BLOCK_SIZE) {
            const from = buffer.readUInt32LE(at) / BLOCK_SIZE;
            copied.push(move(chunk.layer, from, (chunk.to + at) / BLOCK_SIZE));
          }
        }
        expect(copied.join('\n')).toBe(mapping(list).join('\n'));
      }),
    );
  });

  test('put small runs together that lie near each other, and no others', () => {
    const near = GAP / BLOCK_SIZE;
    const run = (from: number, to: number) => ({ layer: 0, from, to, blocks: 1 });
    const count = (list: readonly CopyRun[]) => [...copyChunks(list)].length;
    expect(count([run(0, 50), run(1 + near, 51)])).toBe(1);
    expect(count([run(0, 50), run(2 + near, 51)])).toBe(2);
    expect(count([run(0, 50), run(2, 60)])).toBe(2);
    expect(count([run(0, 50), { ...run(2, 51), layer: 1 }])).toBe(2);
    const everySecond = Array.from({ length: 1000 }, (_, i) => run(2 * i, 50 + i));
    expect(count(everySecond)).toBe(4);
  });
});
