import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openStore } from '@bhatti/store';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { runCommandLine } from '../program.ts';
import { recordedConsole } from './recorded-console.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bhatti-users-'));
  await writeFile(join(directory, 'none.yaml'), '');
});
afterEach(() => rm(directory, { recursive: true }));

function user(...words: string[]) {
  return run([...words, '--data-dir', directory], {});
}

async function run(words: readonly string[], variables: NodeJS.ProcessEnv) {
  const { console, out, err } = recordedConsole();
  const env = { BHATTI_CONFIG: join(directory, 'none.yaml'), ...variables };
  const code = await runCommandLine(['user', ...words], { env, console, version: '0' });
  return { code, out: out(), err: err() };
}

test('users are made, listed, given a new token and deleted in the data directory', async () => {
  const { users } = await openStore(directory);
  const made = await user('create', 'alice', '--admin');
  expect(made.out).toMatch(/^bht_[A-Za-z0-9]{40}\n$/);
  expect(await users.authenticate(made.out.trim())).toMatchObject({ name: 'alice', role: 'admin' });
  expect((await user('list')).out).toMatch(/^NAME {3}ROLE {3}CREATED\nalice {2}admin {2}just now\n$/);
  const rotated = await user('rotate-key', 'alice');
  expect(await users.authenticate(made.out.trim())).toBeNull();
  expect(await users.authenticate(rotated.out.trim())).not.toBeNull();
  expect(await user('delete', 'alice')).toMatchObject({ code: 0, out: 'deleted alice\n' });
  expect(await users.authenticate(rotated.out.trim())).toBeNull();
  await expect(user('delete', 'alice')).rejects.toMatchObject({ code: 'not_found' });
});

test('where no data directory is, only who adds a user makes one', async () => {
  const typo = join(directory, 'typo');
  const unusable = { code: 'data_dir_unusable', message: `${typo} is not a data directory of bhatti` };
  for (const words of [['list'], ['rotate-key', 'ann'], ['delete', 'ann']]) {
    await expect(run([...words, '--data-dir', typo], {})).rejects.toMatchObject(unusable);
  }
  expect(await readdir(directory)).toEqual(['none.yaml']);
  expect(await run(['create', 'ann', '--data-dir', typo], {})).toMatchObject({ code: 0 });
});

test('where the server is on another host, nothing is done to the users of this one', async () => {
  await user('create', 'ann');
  const here = { BHATTI_DATA_DIR: directory };
  const refused = {
    code: 'invalid_request',
    message: 'the users of https://prod.example are in the data directory on its host, out of reach from here',
    hint: `If that is this host, name it: --data-dir ${directory}, without --url. Else run this there.`,
  };
  for (const words of [['create', 'bob'], ['list'], ['rotate-key', 'ann'], ['delete', 'ann']]) {
    await expect(run(words, { ...here, BHATTI_URL: 'https://prod.example' })).rejects.toMatchObject(refused);
    await expect(run([...words, '--url', 'https://me:secret@prod.example'], here)).rejects.toMatchObject(refused);
  }
  expect((await run(['list'], here)).out).toMatch(/^NAME .*\nann /);
  // The one that this machine is asked by, and a directory that is named, leave no doubt.
  expect(await run(['list'], { ...here, BHATTI_URL: 'http://localhost:8080' })).toMatchObject({ code: 0 });
  expect(await run(['list', '--data-dir', directory], { BHATTI_URL: 'https://prod.example' })).toMatchObject({
    code: 0,
  });
});
