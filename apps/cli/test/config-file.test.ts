import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { configFilePaths, parseConfigFile, readConfigFiles } from '../config-file.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bhatti-config-'));
});
afterAll(() => rm(directory, { recursive: true }));

describe('config files', () => {
  test('the usual places, or the one in BHATTI_CONFIG', () => {
    const mine = (home: string) => [join(home, '.bhatti/config.yaml'), '/etc/bhatti/config.yaml'];
    expect(configFilePaths({ HOME: '/home/ann' })).toEqual(mine('/home/ann'));
    // Not below the working directory.
    expect(configFilePaths({ HOME: '' })).toEqual(mine(userInfo().homedir));
    expect(configFilePaths({ BHATTI_CONFIG: '/some/file' })).toEqual(['/some/file']);
  });

  test('reads the settings and leaves other keys alone', async () => {
    const path = join(directory, 'config.yaml');
    await writeFile(path, '# mine\nurl: https://images.example\ntoken: bht_x\ndata_dir: /data\neditor: vi\n');
    expect(await readConfigFiles({ BHATTI_CONFIG: path })).toEqual({
      url: 'https://images.example',
      token: 'bht_x',
      data_dir: '/data',
    });
  });

  test('an empty file says nothing', async () => {
    expect(await parseConfigFile('', 'f')).toEqual({});
    expect(await parseConfigFile('# only a comment\n', 'f')).toEqual({});
    expect(await parseConfigFile("url:\ntoken: ''\ndata_dir:\n", 'f')).toEqual({});
  });

  test.each([
    ['YAML that does not parse', 'url: [', /config file f is not understood/],
    ['a value of the wrong type', 'url: 8080', /config file f is not understood: url must be text/],
    ['a folder below the one at hand', 'data_dir: data', /file f is not understood: data_dir must be an absolute path/],
    ['a folder below ~', 'data_dir: ~/data', /file f is not understood: data_dir must be an absolute path/],
    ['no mapping', '- url', /config file f is not understood: it must be lines/],
  ])('%s is an error that names the file', async (_name, text, message) => {
    await expect(parseConfigFile(text, 'f')).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.stringMatching(message),
    });
  });

  test('a file that BHATTI_CONFIG names has to be there', async () => {
    await expect(readConfigFiles({ BHATTI_CONFIG: join(directory, 'none.yaml') })).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.stringContaining('ENOENT'),
    });
  });
});
