import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import stringWidth from 'fast-string-width';
import { anyCharacter } from '../../../test/support/any-character.ts';
import { rateOf, type SeenBytes, seeBytes } from '../terminal/download-rate.ts';
import { bar, type LayerDownload, layoutStep } from '../terminal/progress-layout.ts';

const layer = (digit: string, downloadedBytes: number, totalBytes: number, rate?: number): LayerDownload => ({
  digest: `sha256:${digit.repeat(64)}`,
  downloadedBytes,
  totalBytes,
  rate,
});
const layers = [
  layer('a', 30e6, 30e6, 1e6),
  layer('b', 12e6, 48e6, 4_200_000),
  layer('c', 3e6, 60e6, undefined),
  layer('d', 0, 4e6, 0),
];
const step = {
  line: 'downloading layers (45 MB / 142 MB)...',
  total: { downloadedBytes: 45e6, totalBytes: 142e6, rate: 12.1e6 },
  layers,
};
const draw = (columns: number, rows = 24) => layoutStep(step, { columns, rows }).join('\n');

describe('the step under way', () => {
  test('a line a layer with a bar, bytes, rate and time left', () => {
    expect(draw(100)).toBe(
      `  downloading layers (45 MB / 142 MB)...  12 MB/s  9s left
  aaaaaaaaaaaa  [==============================]  30 MB / 30 MB    done
  bbbbbbbbbbbb  [=======>                      ]  12 MB / 48 MB    4 MB/s    9s
  cccccccccccc  [=>                            ]  3 MB / 60 MB
  dddddddddddd  [>                             ]  0 B / 4 MB       waiting`,
    );
  });

  test('gives way where it is narrow', () => {
    expect(draw(60)).toBe(
      `  downloading layers (45 MB / 142 MB)...  12 MB/s  9s left
  aaaaaaaaaaaa  [==============]  30 MB / 30 MB    done
  bbbbbbbbbbbb  [===>          ]  12 MB / 48 MB    4 MB/s
  cccccccccccc  [>             ]  3 MB / 60 MB
  dddddddddddd  [>             ]  0 B / 4 MB       waiting`,
    );
    expect(draw(42)).toBe(
      `  downloading layers (45 MB / 142 MB)...
  aaaaaaaaaaaa  30 MB / 30 MB
  bbbbbbbbbbbb  12 MB / 48 MB
  cccccccccccc  3 MB / 60 MB
  dddddddddddd  0 B / 4 MB`,
    );
    expect(draw(20)).toBe(
      `  45 MB / 142 MB
  aaaaaaaaaaaa 100%
  bbbbbbbbbbbb 25%
  cccccccccccc 5%
  dddddddddddd 0%`,
    );
  });

  test('counts the layers that do not fit; those under way come first', () => {
    expect(draw(42, 4)).toBe(
      `  downloading layers (45 MB / 142 MB)...
  bbbbbbbbbbbb  12 MB / 48 MB
  and 3 more: 1 downloading, 1 waiting, 1`,
    );
    expect(draw(80, 3)).toBe(
      `  downloading layers (45 MB / 142 MB)...  12 MB/s  9s left
  4 more: 2 downloading, 1 waiting, 1 done`,
    );
    expect(draw(80, 2)).toBe('  downloading layers (45 MB / 142 MB)...  12 MB/s  9s left');
  });

  test('60 layers on 24 rows', () => {
    const many = Array.from({ length: 60 }, (_, index) => layer(`${index % 10}`, index < 25 ? 1e6 : 0, 2e6, 1e5));
    const lines = layoutStep({ ...step, layers: many }, { columns: 80, rows: 24 });
    expect(lines).toHaveLength(23);
    expect(lines.at(-1)).toBe('  and 39 more: 4 downloading, 35 waiting');
  });

  const anyLayer = fc.record({
    digest: fc.string({ unit: anyCharacter }),
    downloadedBytes: fc.nat(2_000_000_000),
    totalBytes: fc.nat(2_000_000_000),
    rate: fc.option(fc.double({ min: 0, max: 1e10, noNaN: true }), { nil: undefined }),
  });
  const anyStep = fc.record(
    { line: fc.string({ unit: 'grapheme' }), total: anyLayer, layers: fc.array(anyLayer, { maxLength: 80 }) },
    { requiredKeys: ['line', 'layers'] },
  );
  const size = fc.record({ columns: fc.integer({ min: 2, max: 200 }), rows: fc.integer({ min: 2, max: 60 }) });

  test('property: never as wide as the screen, never as high, nothing that moves the cursor', () => {
    fc.assert(
      fc.property(anyStep, size, (any, screen) => {
        const lines = layoutStep(any, screen);
        expect(lines.length).toBeGreaterThan(0);
        expect(lines.length).toBeLessThan(screen.rows);
        for (const line of lines) {
          expect(stringWidth(line)).toBeLessThan(screen.columns);
          expect(line).not.toMatch(/\p{Cc}/u);
        }
      }),
    );
  });

  test('property: a higher screen never shows less, and every layer is shown or counted', () => {
    fc.assert(
      fc.property(anyStep, size, (any, screen) => {
        const lines = layoutStep(any, { ...screen, columns: 200 });
        const higher = layoutStep(any, { columns: 200, rows: screen.rows + 1 });
        expect(higher.length).toBeGreaterThanOrEqual(lines.length);
        const counted = /^ {2}(?:and )?(\d+) more: /.exec(lines.at(-1) ?? '')?.[1];
        const shown = lines.length - 1 - (counted === undefined ? 0 : 1);
        if (screen.rows > 2) expect(shown + Number(counted ?? 0)).toBe(any.layers.length);
      }),
    );
  });

  test('property: a bar has its length and never shrinks', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.nat(), fc.integer({ min: 1, max: 60 }), (a, b, totalBytes, length) => {
        const [less, more] = [Math.min(a, b), Math.max(a, b)].map((downloadedBytes) =>
          bar({ downloadedBytes, totalBytes }, length),
        );
        const full = (text = '') => text.split('=').length;
        expect([less?.length, more?.length]).toEqual([length + 2, length + 2]);
        expect(full(more)).toBeGreaterThanOrEqual(full(less));
      }),
    );
  });
});

describe('rates', () => {
  const see = (...samples: [number, number][]) =>
    samples.reduce<SeenBytes>((seen, [now, bytes]) => seeBytes(seen, new Map([['x', bytes]]), now), new Map());

  test('are known after a moment, follow the last seconds, and fall to nothing when nothing comes', () => {
    expect(rateOf(see([0, 0], [200, 500]), 'x', 200)).toBeUndefined();
    expect(rateOf(see([0, 0], [1000, 500]), 'x', 1000)).toBe(500);
    expect(rateOf(see([0, 0], [1000, 1000], [6000, 1000]), 'x', 6000)).toBe(0);
    expect(rateOf(see([0, 0], [1000, 1000]), 'x', 2000)).toBe(500);
    expect(rateOf(see([0, 0], [1000, 1000]), 'x', 20_000)).toBe(0);
  });

  test('begin anew where bytes were thrown away', () => {
    expect(rateOf(see([0, 0], [1000, 900], [2000, 100]), 'x', 2000)).toBeUndefined();
    expect(rateOf(see([0, 0], [1000, 900], [2000, 100], [3000, 300]), 'x', 3000)).toBe(200);
  });

  test('property: never negative, whatever is seen when', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(3000), fc.nat(1000))), (steps) => {
        const times = steps.map((_step, index) => steps.slice(0, index + 1).reduce((sum, [pause]) => sum + pause, 0));
        const now = times.at(-1) ?? 0;
        const seen = see(...steps.map(([, bytes], index): [number, number] => [times[index] ?? 0, bytes]));
        expect(rateOf(seen, 'x', now) ?? 0).toBeGreaterThanOrEqual(0);
      }),
    );
  });
});
