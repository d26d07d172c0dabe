import { mkdtemp, rm, writeFile } from 'node:fs/promises';
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

async function user(...words: string[]) {
  const { console, out, err } = recordedConsole();
  const env = { BHATTI_CONFIG: join(directory, 'none.yaml') };
  const code = await runCommandLine(['user', ...words, '--data-dir', directory], { env, console, version: '0' });
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
