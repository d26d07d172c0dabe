import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { createProgressReporter, type ProgressTarget, type TaskProgress } from '../index.ts';

/** A job whose Redis answers when it is told to. */
class SlowJob implements ProgressTarget {
  readonly received: TaskProgress[] = [];
  readonly #open: { resolve: () => void; reject: (error: Error) => void }[] = [];
  #automatic = true;

  updateProgress(progress: TaskProgress): Promise<void> {
    this.received.push(progress);
    if (this.#automatic) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#open.push({ resolve, reject });
    });
  }

  hang(): void {
    this.#automatic = false;
  }

  answer(): void {
    this.#open.shift()?.resolve();
  }

  fail(): void {
    this.#open.shift()?.reject(new Error('connection lost'));
  }

  lines(): string[] {
    return this.received.map(({ line }) => line);
  }
}

function downloading(megabytes: number) {
  return { phase: 'downloading' as const, line: `${megabytes} MB`, downloadedBytes: megabytes * 1e6, totalBytes: 9e8 };
}

describe('a progress reporter', () => {
  beforeEach(() => {
    jest.useFakeTimers();
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  test('sends the first at once, then the latest five times a second', async () => {
    const job = new SlowJob();
    const reporter = createProgressReporter(job);
    for (let megabytes = 0; megabytes < 100; megabytes += 1) {
      reporter.report(downloading(megabytes));
      expect(jest.getTimerCount()).toBeLessThanOrEqual(1);
      await jest.advanceTimersByTimeAsync(10);
    }
    await jest.advanceTimersByTimeAsync(1000);
    expect(job.lines()).toEqual(['0 MB', '19 MB', '39 MB', '59 MB', '79 MB', '99 MB']);
  });

  test('keeps the latest line of every phase, in order', async () => {
    const job = new SlowJob();
    const reporter = createProgressReporter(job);
    reporter.report({ phase: 'resolving', line: 'resolving manifest...' });
    reporter.report(downloading(1));
    reporter.report(downloading(2));
    reporter.report({ phase: 'flattening', line: 'flattening to ext4...' });
    await reporter.flush();
    const steps = [
      { phase: 'resolving', line: 'resolving manifest...' },
      { phase: 'downloading', line: '2 MB' },
      { phase: 'flattening', line: 'flattening to ext4...' },
    ];
    expect(reporter.steps).toEqual(steps);
    expect(job.received.at(-1)).toEqual({ phase: 'flattening', line: 'flattening to ext4...', steps });
  });

  test('has one update under way, however slow Redis is, and sends the latest after it', async () => {
    const job = new SlowJob();
    job.hang();
    const reporter = createProgressReporter(job);
    for (let megabytes = 0; megabytes < 100; megabytes += 1) {
      reporter.report(downloading(megabytes));
      await jest.advanceTimersByTimeAsync(100);
    }
    expect(job.lines()).toEqual(['0 MB']);
    job.answer();
    await jest.advanceTimersByTimeAsync(0);
    expect(job.lines()).toEqual(['0 MB', '99 MB']);
  });

  test('goes on after an update that failed', async () => {
    const job = new SlowJob();
    const onError = jest.fn();
    const reporter = createProgressReporter(job, { onError });
    job.hang();
    reporter.report(downloading(1));
    reporter.report(downloading(2));
    job.fail();
    await jest.advanceTimersByTimeAsync(200);
    expect(onError).toHaveBeenCalledTimes(1);
    expect(job.lines()).toEqual(['1 MB', '2 MB']);
  });

  test('flushes what is left at once', async () => {
    const job = new SlowJob();
    const reporter = createProgressReporter(job);
    reporter.report(downloading(1));
    reporter.report(downloading(2));
    await reporter.flush();
    expect(job.lines()).toEqual(['1 MB', '2 MB']);
    await reporter.flush();
    // Nothing that would keep the process.
    expect(jest.getTimerCount()).toBe(0);
    await jest.advanceTimersByTimeAsync(1000);
    expect(job.received).toHaveLength(2);
    reporter.report(downloading(3));
    expect(job.lines()).toEqual(['1 MB', '2 MB', '3 MB']);
  });

  test('flushes what a slow update has held up, too', async () => {
    const job = new SlowJob();
    job.hang();
    const reporter = createProgressReporter(job);
    reporter.report(downloading(1));
    reporter.report(downloading(2));
    await jest.advanceTimersByTimeAsync(500);
    let flushed = false;
    const flushing = reporter.flush().then(() => {
      flushed = true;
    });
    job.answer();
    await jest.advanceTimersByTimeAsync(0);
    expect(job.lines()).toEqual(['1 MB', '2 MB']);
    expect(flushed).toBe(false);
    job.answer();
    await flushing;
  });

  test('flushes behind the update under way, but waits a second at most', async () => {
    const job = new SlowJob();
    job.hang();
    const reporter = createProgressReporter(job);
    reporter.report(downloading(1));
    reporter.report(downloading(2));
    let flushed = false;
    const flushing = reporter.flush().then(() => {
      flushed = true;
    });
    await jest.advanceTimersByTimeAsync(999);
    expect(flushed).toBe(false);
    await jest.advanceTimersByTimeAsync(1);
    await flushing;
    job.answer();
    await jest.advanceTimersByTimeAsync(0);
    expect(job.lines()).toEqual(['1 MB', '2 MB']);
  });
});
