import type { ProgressUpdate } from '@bhatti/tasks';
import { expect, test } from '@jest/globals';
import { PullProgress } from '../image/progress.ts';

/** Progress, and the updates that it reports. */
function recordedProgress() {
  const updates: ProgressUpdate[] = [];
  const progress = new PullProgress({ report: (update) => updates.push(update), steps: [], flush: async () => {} });
  return { progress, updates };
}

/** The last update of an image with so many layers, after a kilobyte of the first. */
function updateOf(layers: number): ProgressUpdate | undefined {
  const { progress, updates } = recordedProgress();
  progress.downloading(Array.from({ length: layers }, (_, i) => ({ digest: `sha256:${i}`, size: 2000, present: 0 })));
  progress.layerBytes('sha256:0', 1000);
  return updates.at(-1);
}

test('each layer is told of an image that has as many as images have', () => {
  const { layers = [] } = updateOf(128) ?? {};
  expect(layers).toHaveLength(128);
  expect(layers[0]).toEqual({ digest: 'sha256:0', downloadedBytes: 1000, totalBytes: 2000 });
});

test('of one with more, only what there is in all: an update has to be small', () => {
  expect(updateOf(129)).toEqual({
    phase: 'downloading',
    line: 'downloading layers (1 kB / 258 kB)...',
    downloadedBytes: 1000,
    totalBytes: 258_000,
    layers: undefined,
  });
});

test('what a stale partial file has beyond the end of its layer is not counted, and nothing is told twice', () => {
  const { progress, updates } = recordedProgress();
  progress.downloading([{ digest: 'sha256:0', size: 2000, present: 3000 }]);
  expect(updates).toMatchObject([{ downloadedBytes: 2000, totalBytes: 2000 }]);
  for (const bytes of [500, 500, 500]) progress.layerBytes('sha256:0', bytes);
  expect(updates.map(({ downloadedBytes }) => downloadedBytes)).toEqual([2000, 500]);
});
