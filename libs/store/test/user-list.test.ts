import { mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { openStore, type Store } from '../index.ts';
import { ownIdentity } from '../process-identity.ts';
import { temporaryName } from '../temporary-name.ts';
import { temporaryDirectory } from './support/fixture.ts';

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let store: Store;
beforeEach(async () => {
  directory = await temporaryDirectory();
  store = await openStore(directory.path);
});
afterEach(() => directory.remove());

describe('users', () => {
  test('are known by their token, which is kept hashed in a private file', async () => {
    const { token } = await store.users.create('alice', 'user');
    expect(token).toMatch(/^bht_[A-Za-z0-9]{40}$/);
    expect(await store.users.authenticate(token)).toMatchObject({ name: 'alice', role: 'user' });
    expect(await store.users.authenticate(`${token.slice(0, -1)}-`)).toBeNull();
    const file = join(directory.path, 'users.json');
    expect(await readFile(file, 'utf8')).not.toContain(token.slice(4));
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  test('are seen at once by another process: created, with a new token, deleted', async () => {
    const other = (await openStore(directory.path)).users;
    expect(await other.list()).toEqual([]);
    const { token } = await store.users.create('alice', 'admin');
    expect(await other.authenticate(token)).toMatchObject({ name: 'alice', role: 'admin' });
    const rotated = await store.users.rotateToken('alice');
    expect(await other.authenticate(token)).toBeNull();
    expect(await other.authenticate(rotated.token)).toMatchObject({ name: 'alice' });
    await store.users.delete('alice');
    expect(await other.authenticate(rotated.token)).toBeNull();
  });

  test('keep their own token when another’s is replaced or deleted, and nobody is told its hash', async () => {
    const [ann, bob, eve] = [
      await store.users.create('ann', 'admin'),
      await store.users.create('bob', 'admin'),
      await store.users.create('eve', 'user'),
    ];
    expect((await store.users.rotateToken('ann')).user).toEqual(ann.user);
    await store.users.delete('eve');
    expect(await store.users.authenticate(ann.token)).toBeNull();
    expect(await store.users.authenticate(bob.token)).toEqual(bob.user);
    expect(Object.keys(bob.user).sort()).toEqual(['createdAt', 'name', 'role']);
    expect(await store.users.list()).toEqual([ann.user, bob.user]);
    expect(await store.users.authenticate(eve.token)).toBeNull();
  });

  test('of a role that there is none are nobody', async () => {
    const { token } = await store.users.create('alice', 'user');
    const path = join(directory.path, 'users.json');
    await writeFile(path, (await readFile(path, 'utf8')).replace('"user"', '"owner"'));
    await expect(store.users.authenticate(token)).rejects.toThrow(/not a list of users/);
  });

  test.each(['', '\n', 'no token'])('the local admin has no token where its file has none (%j)', async (text) => {
    await writeFile(store.paths.tokenFile, text);
    for (const token of [text, text.trim()]) expect(await store.users.authenticate(token)).toBeNull();
  });

  test('are refused from the moment of their deletion, however many requests share a look at the file', async () => {
    const other = (await openStore(directory.path)).users;
    const { token } = await store.users.create('alice', 'user');
    const early = Array.from({ length: 50 }, () => other.authenticate(token));
    await early[0];
    const underWay = Array.from({ length: 50 }, () => other.authenticate(token));
    await store.users.delete('alice');
    expect(await Promise.all(Array.from({ length: 50 }, () => other.authenticate(token)))).toEqual(
      Array.from({ length: 50 }, () => null),
    );
    expect((await Promise.all(early)).every((user) => user?.name === 'alice')).toBe(true);
    await Promise.all(underWay);
  });

  test('created at the same time are all there', async () => {
    const lists = await Promise.all(Array.from({ length: 4 }, () => openStore(directory.path)));
    const names = Array.from({ length: 12 }, (_, index) => `user-${index}`);
    await Promise.all(names.map((name, index) => lists[index % 4]?.users.create(name, 'user')));
    expect((await store.users.list()).map(({ name }) => name)).toEqual([...names].sort());
  });

  test('are not waited for behind the lock of a process that died', async () => {
    const gone = temporaryName({ ...(await ownIdentity()), startTime: '1' });
    await writeFile(join(directory.path, 'users.json.lock'), gone);
    await store.users.create('alice', 'user');
    expect(await store.users.list()).toHaveLength(1);
  });

  test('cannot be made twice, nor with a name that is a path, nor be the local admin', async () => {
    await store.users.create('alice', 'user');
    await expect(store.users.create('alice', 'user')).rejects.toMatchObject({ code: 'invalid_request' });
    await expect(store.users.create('local', 'user')).rejects.toMatchObject({ code: 'invalid_request' });
    await expect(store.users.delete('local')).rejects.toMatchObject({ code: 'invalid_request' });
    await expect(store.users.delete('bob')).rejects.toMatchObject({ code: 'not_found' });
    await expect(store.users.create('../x', 'user')).rejects.toMatchObject({ code: 'invalid_name' });
    await expect(store.users.create('-x', 'user')).rejects.toThrow(/, the first a letter or digit$/);
  });

  test('of a directory in the place of the file are nobody, and it is named', async () => {
    const path = join(directory.path, 'users.json');
    await mkdir(path);
    const named = {
      code: 'not_writable',
      message: `${path} is a directory, where a file has to be; move it elsewhere`,
    };
    await expect(store.users.list()).rejects.toMatchObject(named);
    await expect(store.users.create('alice', 'user')).rejects.toMatchObject(named);
    await expect(store.users.authenticate(`bht_${'a1'.repeat(20)}`)).rejects.toMatchObject(named);
  });

  test('of a link to itself are nobody, and it is not called a directory', async () => {
    await symlink('users.json', join(directory.path, 'users.json'));
    const named = { code: 'internal', message: expect.stringContaining('ELOOP') };
    await expect(store.users.list()).rejects.toMatchObject(named);
    await expect(store.users.create('alice', 'user')).rejects.toMatchObject(named);
  });

  test('of a damaged file are nobody, and it is not written over', async () => {
    const { token } = await store.users.create('alice', 'user');
    await writeFile(join(directory.path, 'users.json'), '{"users":');
    await expect(store.users.authenticate(token)).rejects.toThrow(/not a list of users/);
    await expect(store.users.create('bob', 'user')).rejects.toThrow(/not a list of users/);
    const local = await store.users.rotateToken('local');
    expect(await store.users.authenticate(local.token)).toEqual({ name: 'local', role: 'admin' });
    expect(await readFile(join(directory.path, 'users.json'), 'utf8')).toBe('{"users":');
  });

  test('keep the token that the first start made, until it is replaced', async () => {
    const token = `bht_${'a1'.repeat(20)}`;
    await writeFile(store.paths.tokenFile, `${token}\n`);
    expect(await store.users.authenticate(token)).toEqual({ name: 'local', role: 'admin' });
    const rotated = await store.users.rotateToken('local');
    expect(await store.users.authenticate(token)).toBeNull();
    expect((await readFile(store.paths.tokenFile, 'utf8')).trim()).toBe(rotated.token);
  });
});
