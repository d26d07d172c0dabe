import { describe, expect, test } from '@jest/globals';
import { resolveSettings } from '../settings.ts';

describe('resolveSettings', () => {
  const flags = { url: 'http://flag:1', token: 'flag', dataDir: '/flag' };
  const file = { url: 'http://file:1', token: 'file', data_dir: '/file' };
  const env = { BHATTI_URL: 'http://env:1', BHATTI_TOKEN: 'env', BHATTI_DATA_DIR: '/env' };

  test.each([
    ['a flag wins over all', flags, file, env, 'http://flag:1/', 'flag', '/flag'],
    ['the config file wins over the environment', {}, file, env, 'http://file:1/', 'file', '/file'],
    ['the environment wins over the default', {}, {}, env, 'http://env:1/', 'env', '/env'],
  ])('%s', (_name, someFlags, someFile, someEnv, url, token, dataDirectory) => {
    const settings = resolveSettings(someFlags, someFile, someEnv);
    expect(settings.url?.href).toBe(url);
    expect(settings).toMatchObject({ token, dataDirectory, dataDirectoryGiven: true });
  });

  test('each setting is looked up on its own', () => {
    const settings = resolveSettings({ url: 'http://flag:1' }, { token: 'file' }, env);
    expect(settings.url?.href).toBe('http://flag:1/');
    expect(settings).toMatchObject({ token: 'file', dataDirectory: '/env' });
  });

  test.each([
    ['config file', { url: 'http://file:1' }, {}],
    ['environment', {}, { BHATTI_URL: 'http://env:1' }],
  ])('a data directory by flag means the server there, not the URL of the %s', (_where, someFile, someEnv) => {
    const settings = resolveSettings({ dataDir: '/flag' }, someFile, someEnv);
    expect(settings).toMatchObject({ url: undefined, dataDirectory: '/flag', dataDirectoryGiven: true });
  });

  test('nothing configured, and empty values, mean the local server', () => {
    const settings = resolveSettings({ token: '' }, {}, { BHATTI_URL: '', BHATTI_TOKEN: '', XDG_DATA_HOME: '/data' });
    expect(settings.url).toBeUndefined();
    expect(settings.token).toBeUndefined();
    expect(settings.dataDirectoryGiven).toBe(false);
  });

  test('a relative data directory is one below the working directory', () => {
    expect(resolveSettings({ dataDir: 'data' }, {}, {}).dataDirectory).toBe(`${process.cwd()}/data`);
  });

  test.each(['localhost:8080', 'ftp://host', 'nonsense', 'unix:///run/api.sock'])('%s is no server URL', (url) => {
    expect(() => resolveSettings({ url }, {}, {})).toThrow(expect.objectContaining({ code: 'invalid_request' }));
  });
});
