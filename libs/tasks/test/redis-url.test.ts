import { describe, expect, test } from '@jest/globals';
import { parseRedisUrl } from '../index.ts';

describe('parseRedisUrl', () => {
  test.each([
    ['redis://localhost', { host: 'localhost', port: 6379, db: 0 }],
    ['redis://localhost:6380/2', { host: 'localhost', port: 6380, db: 2 }],
    ['redis://host?db=3', { host: 'host', port: 6379, db: 3 }],
    ['redis://host?db=', { host: 'host', port: 6379, db: 0 }],
    ['redis://[::1]:7000', { host: '::1', port: 7000, db: 0 }],
    ['redis://:pa%2Fss@host', { host: 'host', port: 6379, db: 0, password: 'pa/ss' }],
    ['redis://ann:pass@host/1', { host: 'host', port: 6379, db: 1, username: 'ann', password: 'pass' }],
    ['rediss://127.0.0.1:6390', { host: '127.0.0.1', port: 6390, db: 0, tls: {} }],
    ['rediss://host:6390', { host: 'host', port: 6390, db: 0, tls: { servername: 'host' } }],
    ['/run/redis.sock', { path: '/run/redis.sock', db: 0 }],
    ['./run/redis.sock', { path: './run/redis.sock', db: 0 }],
    ['redis+unix:///run/a%20b.sock?db=4', { path: '/run/a b.sock', db: 4 }],
    ['unix:///run/redis.sock', { path: '/run/redis.sock', db: 0 }],
    ['redis+unix://:pass@/run/redis.sock', { path: '/run/redis.sock', db: 0, password: 'pass' }],
    [
      'redis+sentinel://:pass@one:26379,two,[::1]:27000/mymaster?db=1',
      {
        sentinels: [
          { host: 'one', port: 26379 },
          { host: 'two', port: 26379 },
          { host: '::1', port: 27000 },
        ],
        name: 'mymaster',
        db: 1,
        password: 'pass',
      },
    ],
  ])('%s', (text, options) => {
    expect(parseRedisUrl(text).options).toEqual(options);
  });

  test('the nodes of a cluster', () => {
    expect(parseRedisUrl('redis+cluster://ann:pa%2Fss@one:7000,two,[::1]:7001')).toEqual({
      options: { username: 'ann', password: 'pa/ss' },
      clusterNodes: [
        { host: 'one', port: 7000 },
        { host: 'two', port: 6379 },
        { host: '::1', port: 7001 },
      ],
    });
    expect(() => parseRedisUrl('redis+cluster://one:7000/1')).toThrow(/redis\+cluster:/);
  });

  test.each(['redis://ann:p@ss@one', 'redis+sentinel://ann:p@ss@one/name', 'redis+cluster://ann:p@ss@one'])(
    'the last @ ends the password: %s',
    (text) => {
      const address = parseRedisUrl(text);
      expect(address.options).toMatchObject({ username: 'ann', password: 'p@ss' });
      expect(JSON.stringify(address)).not.toContain('ss@');
    },
  );

  test.each([
    '',
    'localhost:6379',
    'http://host',
    'redis://',
    'redis://host:99999',
    'redis://host/one',
    'redis://host/100000',
    'redis+unix://',
    'redis+unix:///',
    'redis+sentinel://one:26379',
    'redis+sentinel:///name',
    'redis://ann:100%@host',
    'redis+unix:///run/%zz.sock',
    'redis+sentinel://one/%',
  ])('refuses %j', (text) => {
    // `redis://` alone is what redis-cli takes for the local default.
    if (text === 'redis://') expect(parseRedisUrl(text).options.host).toBe('127.0.0.1');
    else expect(() => parseRedisUrl(text)).toThrow(/REDIS_URL is not understood/);
  });

  test.each([
    'redis://ann:s3cr3t@host/x',
    'redis://ann:s3cr3t%@host',
    'redis+sentinel://:s3cr3t@host',
    'foo://:s3cr3t@host',
  ])('does not repeat a password: %s', (text) => {
    expect(() => parseRedisUrl(text)).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining('s3cr3t') }),
    );
  });
});
