import { createLogger, RecentlyTold } from '@bhatti/logging';
import { expect, test } from '@jest/globals';
import * as z from 'zod';
import type { Readiness } from '../api-schema.ts';
import { ReadinessLog } from '../readiness-log.ts';
import { redisUnavailable } from '../request/errors.ts';

const line = z.object({ msg: z.string() });
const ok = { ok: true };

function readiness(status: Readiness['status'], reason?: string): Readiness {
  const redis = reason === undefined ? ok : { ok: false, reason };
  return { status, checks: { redis, data_dir: ok, worker: ok, e2fsprogs: ok } };
}

test('tells a state that lasts once, however often it is asked for; and that it is over', () => {
  const lines: string[] = [];
  const destination = { write: (text: string) => lines.push(line.parse(JSON.parse(text)).msg) };
  const logger = createLogger({ name: 'api', level: 'info', destination });
  const told = new RecentlyTold();
  const ask = (seen: Readiness, reply?: string) => {
    const log = new ReadinessLog(logger, told);
    if (reply !== undefined) log.failed('Redis', redisUnavailable(new Error(reply)));
    log.checked(seen);
    return lines.splice(0);
  };
  const noperm = () => ask(readiness('not_ready', 'NOPERM'), "NOPERM 'client'");

  expect(ask(readiness('ready'))).toEqual([]);
  expect(noperm()).toEqual(['not ready: Redis cannot be used', 'not ready']);
  expect(noperm()).toEqual([]);
  expect(ask(readiness('not_ready', 'NOPERM'), "NOPERM 'info'")).toEqual(['not ready: Redis cannot be used']);
  expect(ask(readiness('not_ready', 'MASTERDOWN'))).toEqual(['not ready']);
  expect(ask(readiness('ready'))).toEqual(['ready again']);
  expect(ask(readiness('ready'))).toEqual([]);
  expect(noperm()).toEqual(['not ready: Redis cannot be used', 'not ready']);
});
