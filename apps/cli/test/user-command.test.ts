import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openStore } from '@bhatti/store';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { runHere } from './command-line.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bhatti-users-'));
  await writeFile(join(directory, 'none.yaml'), '');
});
afterEach(() => rm(directory, { recursive: true }));

function user(...words: string[]) {
  return run([...words, '--data-dir', directory], {});
}

function run(words: readonly string[], variables: NodeJS.ProcessEnv) {
  return runHere(['user', ...words], { env: { BHATTI_CONFIG: join(directory, 'none.yaml'), ...variables } });
}

test('users are made, listed, given a new token and deleted in the data directory', async () => {
  const { users } = await openStore(directory);
  const made = await user('create', 'alice', '--admin');
  expect(made.stdout).toMatch(/^bht_[A-Za-z0-9]{40}\n$/);
  expect(await users.authenticate(made.stdout.trim())).toMatchObject({ name: 'alice', role: 'admin' });
  expect((await user('list')).stdout).toMatch(/^NAME {3}ROLE {3}CREATED\nalice {2}admin {2}just now\n$/);
  const rotated = await user('rotate-key', 'alice');
  expect(await users.authenticate(made.stdout.trim())).toBeNull();
  expect(await users.authenticate(rotated.stdout.trim())).not.toBeNull();
  expect(await user('delete', 'alice')).toMatchObject({ exitCode: 0, stdout: 'deleted alice\n' });
  expect(await users.authenticate(rotated.stdout.trim())).toBeNull();
  expect(await user('delete', 'alice')).toEqual({
    exitCode: 1,
    stdout: '',
    stderr: 'error: there is no user "alice"; "bhatti user list" shows them (not_found)\n',
  });
});

test('where no data directory is, only who adds a user makes one', async () => {
  const typo = join(directory, 'typo');
  const unusable = `error: ${typo} is not a data directory of bhatti (data_dir_unusable)\n`;
  for (const words of [['list'], ['rotate-key', 'ann'], ['delete', 'ann']]) {
    const { exitCode, stdout, stderr } = await run([...words, '--data-dir', typo], {});
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    expect(stderr).toContain(unusable);
  }
  expect(await readdir(directory)).toEqual(['none.yaml']);
  expect(await run(['create', 'ann', '--data-dir', typo], {})).toMatchObject({ exitCode: 0 });
});

test('where the server is on another host, nothing is done to the users of this one', async () => {
  await user('create', 'ann');
  const here = { BHATTI_DATA_DIR: directory };
  const refused = {
    exitCode: 1,
    stdout: '',
    stderr: `error: the users of https://prod.example are in the data directory on its host, out of reach from here (invalid_request)
If that is this host, name it: --data-dir ${directory}, without --url. Else run this there.
`,
  };
  for (const words of [['create', 'bob'], ['list'], ['rotate-key', 'ann'], ['delete', 'ann']]) {
    expect(await run(words, { ...here, BHATTI_URL: 'https://prod.example' })).toEqual(refused);
    expect(await run([...words, '--url', 'https://me:secret@prod.example'], here)).toEqual(refused);
  }
  expect((await run(['list'], here)).stdout).toMatch(/^NAME .*\nann /);
  // The one that this machine is asked by, and a directory that is named, leave no doubt.
  expect(await run(['list'], { ...here, BHATTI_URL: 'http://localhost:8080' })).toMatchObject({ exitCode: 0 });
  expect(await run(['list', '--data-dir', directory], { BHATTI_URL: 'https://prod.example' })).toMatchObject({
    exitCode: 0,
  });
});
