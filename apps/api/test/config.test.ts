import { describe, expect, test } from '@jest/globals';
import { ConfigError, parseListen, readConfig } from '../config.ts';

describe('parseListen', () => {
  test.each([
    [undefined, { host: '127.0.0.1', port: 8080, explicit: false }],
    ['127.0.0.1:0', { host: '127.0.0.1', port: 0, explicit: true }],
    [':9000', { host: '127.0.0.1', port: 9000, explicit: true }],
    ['0.0.0.0:80', { host: '0.0.0.0', port: 80, explicit: true }],
    ['[::1]:8080', { host: '::1', port: 8080, explicit: true }],
    ['images.internal:8080', { host: 'images.internal', port: 8080, explicit: true }],
    ['none', null],
  ])('%s', (text, address) => {
    expect(parseListen(text)).toEqual(address);
  });

  test.each(['8080', 'host', 'host:', 'host:70000', '::1:8080', 'http://host:80', 'a b:80'])('refuses %s', (text) => {
    expect(() => parseListen(text)).toThrow(ConfigError);
  });
});

describe('readConfig', () => {
  test('takes an empty variable as not set', () => {
    expect(readConfig({ BHATTI_DATA_DIR: '', REDIS_URL: ' ', BHATTI_LISTEN: '', BHATTI_LOG_LEVEL: '' })).toEqual({
      dataDirectory: undefined,
      redisUrl: undefined,
      listen: { host: '127.0.0.1', port: 8080, explicit: false },
      overlay: false,
      logLevel: 'info',
      limits: { ofOwner: 500, inAll: 10_000 },
    });
  });

  test('takes limits, whole numbers', () => {
    expect(readConfig({ BHATTI_MAX_TASKS_PER_OWNER: '3' }).limits).toEqual({ ofOwner: 3, inAll: 10_000 });
    for (const wrong of ['0', '-1', 'many', '1.5']) {
      expect(() => readConfig({ BHATTI_MAX_TASKS: wrong })).toThrow(/BHATTI_MAX_TASKS: must be a whole number/);
    }
  });

  test('names the variable that is wrong', () => {
    expect(() => readConfig({ BHATTI_LOG_LEVEL: 'loud' })).toThrow(/BHATTI_LOG_LEVEL: must be one of trace/);
    expect(() => readConfig({ BHATTI_LISTEN: 'nonsense' })).toThrow(/^BHATTI_LISTEN: "nonsense" is not an address/);
  });
});
