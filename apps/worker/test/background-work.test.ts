import { createLogger } from '@bhatti/logging';
import { expect, test } from '@jest/globals';
import { BackgroundWork } from '../housekeeping/background-work.ts';

/** Work of which each run, and each lull before it, ends when the test says so. */
class Runs {
  readonly begun: (() => void)[] = [];
  readonly lulls: (() => void)[] = [];
  readonly work: BackgroundWork;
  log = '';
  running = 0;
  most = 0;

  constructor(end: () => void = () => {}) {
    const write = (line: string) => {
      this.log += line;
    };
    this.work = new BackgroundWork({
      what: 'sync',
      work: async () => {
        this.running += 1;
        this.most = Math.max(this.most, this.running);
        await new Promise<void>((resolve) => this.begun.push(resolve));
        this.running -= 1;
        end();
      },
      lull: () => new Promise((resolve) => this.lulls.push(resolve)),
      logger: createLogger({ name: 'worker', level: 'error', destination: { write } }),
    });
  }

  /** Lets the run begin that waits for its lull, which has to be the only one. */
  async begin(): Promise<void> {
    expect(this.lulls).toHaveLength(1);
    this.lulls.shift()?.();
    await new Promise(setImmediate);
  }

  async end(): Promise<void> {
    this.begun.shift()?.();
    await new Promise(setImmediate);
  }
}

test('what is asked for while a run is under way takes one more, after it; what comes before its lull does not', async () => {
  const runs = new Runs();
  runs.work.request();
  runs.work.request();
  await new Promise(setImmediate);
  expect(runs.begun).toHaveLength(0);
  await runs.begin();
  runs.work.request();
  runs.work.request();
  await runs.end();
  await runs.begin();
  expect(runs.begun).toHaveLength(1);
  await runs.end();
  await runs.work.idle();
  expect([runs.most, runs.lulls]).toEqual([1, []]);
  runs.work.request();
  await runs.begin();
  expect(runs.begun).toHaveLength(1);
  await runs.end();
  await runs.work.idle();
});

test('a run that fails is logged, and the next is made all the same', async () => {
  const runs = new Runs(() => {
    throw new Error('the disk is gone');
  });
  for (let time = 1; time <= 2; time += 1) {
    runs.work.request();
    await runs.begin();
    await runs.end();
    await runs.work.idle();
    expect(runs.log.split('cannot sync published files')).toHaveLength(time + 1);
  }
  expect(runs.log).toContain('the disk is gone');
});
