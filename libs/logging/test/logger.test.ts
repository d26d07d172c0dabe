import { expect, test } from '@jest/globals';
import { createLogger } from '../index.ts';

test('a line of JSON says whose it is, and of an error what is harmless', () => {
  const lines: string[] = [];
  const log = createLogger({ name: 'api', level: 'info', destination: { write: (line) => lines.push(line) } });
  log.debug('too low');
  log.warn({ err: Object.assign(new Error('refused'), { command: { args: ['user:token'] } }) }, 'redis');
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    expect.objectContaining({
      name: 'api',
      pid: process.pid,
      msg: 'redis',
      err: { type: 'Error', message: 'refused', stack: expect.any(String) },
    }),
  ]);
});
