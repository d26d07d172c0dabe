import { execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdir, readdir, readFile, rename, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { bundled } from '../../../test/support/bundled.ts';
import { openStore, type Store } from '../index.ts';
import { ownIdentity, type ProcessIdentity } from '../process-identity.ts';
import { parseTemporaryName, temporaryLabel, temporaryName } from '../temporary-name.ts';
import { digestOf, hexOf, imageEntry, publishLayer, publishRootfs, temporaryDirectory } from './support/fixture.ts';

const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stderr.write('skipped: what cannot be removed, because only root can mount a tmpfs\n');

const hoursAgo = (hours: number) => new Date(Date.now() - hours * 3600 * 1000);

describe('what dead processes were making', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let store: Store;
  let layers: string;

  beforeEach(async () => {
    directory = await temporaryDirectory();
    store = await openStore(directory.path);
    layers = join(directory.path, 'layers', 'sha256');
  });
  afterEach(() => directory.remove());

  async function leave(folder: string, maker: ProcessIdentity, age?: Date): Promise<string> {
    const name = temporaryName(maker);
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, 'data'), 'half');
    if (age !== undefined) {
      await utimes(join(folder, name, 'data'), age, age);
      await utimes(join(folder, name), age, age);
    }
    return name;
  }

  test('is removed once they are dead, and not before', async () => {
    // It lives until it is told more, under a name that looks like the end of one.
    const named = 'printf "a) 1 (b" > /proc/$$/comm; echo named; read more';
    const child = spawn('sh', ['-c', named], { stdio: ['pipe', 'pipe', 'ignore'] });
    await once(child.stdout, 'data');
    const pid = child.pid ?? 0;
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    const startTime = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
    const name = await leave(layers, { ...(await ownIdentity()), pid, startTime });
    await store.collectOrphans();
    expect(await readdir(layers)).toEqual([name]);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await store.collectOrphans();
    expect(await readdir(layers)).toEqual([]);
  });

  (isRoot ? test : test.skip)(
    'is removed but for what cannot be: the first such is told, after all others',
    async () => {
      const dead = { ...(await ownIdentity()), startTime: '1' };
      // What another file system is mounted on stays, also for root.
      const stuck = await leave(directory.path, dead);
      await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', join(directory.path, stuck)]);
      try {
        const uploads = join(directory.path, 'uploads');
        for (const folder of [directory.path, layers, uploads]) await leave(folder, dead);
        await expect(store.collectOrphans()).rejects.toMatchObject({ message: expect.stringContaining('EBUSY') });
        expect((await readdir(directory.path)).filter((name) => parseTemporaryName(name))).toEqual([stuck]);
        expect([await readdir(layers), await readdir(uploads)]).toEqual([[], []]);
      } finally {
        await run('umount', [join(directory.path, stuck)]);
      }
    },
  );

  test('small files that they had not linked or renamed yet are removed after a day', async () => {
    const left = [
      `token.${randomUUID()}`,
      `secret.key.${randomUUID()}`,
      'run/api.json.17abcdef',
      'run/serve.pid.17.tmp',
    ];
    const kept = ['token', 'secret.key', 'token.old', 'deadbeef', `token.${randomUUID()}`];
    for (const name of [...left, ...kept]) await writeFile(join(directory.path, name), '');
    // As an API leaves it that is killed before it gives its socket the right name.
    left.push('run/0123abcd');
    const api = createServer().listen(join(directory.path, 'run', 'made'));
    await once(api, 'listening');
    await rename(join(directory.path, 'run', 'made'), join(directory.path, 'run', '0123abcd'));
    api.close();
    const old = hoursAgo(25);
    for (const name of [...left, ...kept.slice(0, 4)]) await utimes(join(directory.path, name), old, old);
    await store.collectOrphans();
    const names = [...(await readdir(directory.path)), ...(await readdir(join(directory.path, 'run')))];
    expect(names).toEqual(expect.arrayContaining(kept));
    expect(names).toHaveLength(7 + kept.length);
  });

  test('is told from what this process is making, which stays', async () => {
    const self = await ownIdentity();
    // What is not known is `0`, which would be any other's, too.
    expect(Object.values(self)).not.toContain('0');
    await publishLayer(store, digestOf('published'));
    const mine = await store.layers.begin(digestOf('mine'));
    await leave(layers, { ...self, startTime: '1' });
    await leave(layers, { ...self, bootId: 'an-earlier-boot' });
    // What it was removing when it died: no process has an id so high.
    await leave(layers, { ...self, pid: 2 ** 22 + 1, startTime: '0' });
    await leave(join(directory.path, 'rootfs', 'sha256'), { ...self, startTime: '1' });
    await store.collectOrphans();
    const names = await readdir(layers);
    expect(names.sort()).toEqual([mine.directory.slice(layers.length + 1), hexOf('published')].sort());
    expect(await readdir(join(directory.path, 'rootfs', 'sha256'))).toEqual([]);
  });

  test('of another user stays, too, while that one’s process lives', async () => {
    const pid = 1;
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    const startTime = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
    const alive: ProcessIdentity = { ...(await ownIdentity()), pid, startTime };
    await chmod(directory.path, 0o755);
    const library = await bundled('libs/store/process-identity.ts', directory.path);
    const program = `import { isAlive } from ${JSON.stringify(library)};
      console.log(await isAlive(${JSON.stringify(alive)}));`;
    const node = [process.execPath, '--input-type=module', '--eval', program];
    const asNobody = isRoot ? ['setpriv', '--reuid=65534', '--clear-groups', ...node] : node;
    const [command = '', ...given] = asNobody;
    const { stdout } = await run(command, given, { env: { ...process.env, NODE_OPTIONS: '' } });
    expect(stdout).toBe('true\n');
  });

  test('on another machine, or in another container, is left alone for a day', async () => {
    const self = await ownIdentity();
    const recent = [
      await leave(layers, { ...self, host: 'elsewhere' }, hoursAgo(23)),
      await leave(layers, { ...self, host: 'elsewhere', bootId: 'another-boot' }, hoursAgo(23)),
      // Of no process here: it lives there, maybe.
      await leave(layers, { ...self, pidNamespace: 'pid4026539999', startTime: '1' }, hoursAgo(23)),
    ];
    await leave(layers, { ...self, host: 'elsewhere' }, hoursAgo(25));
    // It is to be filled yet.
    const empty = temporaryName({ ...self, host: 'elsewhere' });
    await mkdir(join(layers, empty));
    recent.push(empty);
    const growing = await leave(layers, { ...self, host: 'elsewhere' }, hoursAgo(25));
    await writeFile(join(layers, growing, 'data'), 'more');
    await store.collectOrphans();
    expect((await readdir(layers)).sort()).toEqual([...recent, growing].sort());
  });

  test('was set aside by them is given back, but for what they were removing, or a power loss has damaged', async () => {
    const dead = { ...(await ownIdentity()), startTime: '1' };
    const rootfs = join(directory.path, 'rootfs', 'sha256');
    const [key, damaged, doomed] = [hexOf('set aside'), hexOf('damaged'), hexOf('being removed')];
    for (const one of [key, damaged, doomed]) await publishRootfs(store, one);
    await writeFile(join(rootfs, key, temporaryName(dead)), '{"si');
    await writeFile(join(rootfs, damaged, 'unsynced'), JSON.stringify({ host: dead.host, bootId: 'an-earlier-boot' }));
    await rename(join(rootfs, key), join(rootfs, temporaryName(dead, key)));
    await rename(join(rootfs, damaged), join(rootfs, temporaryName(dead, damaged)));
    await rename(join(rootfs, doomed), join(rootfs, temporaryName(dead)));
    await store.collectOrphans();
    expect(await readdir(rootfs)).toEqual([key]);
    expect((await readdir(join(rootfs, key))).sort()).toEqual(['image.json', 'rootfs.ext4', 'unsynced']);
    // One that was made anew meanwhile is as good.
    await rename(join(rootfs, key), join(rootfs, temporaryName(dead, key)));
    await publishRootfs(store, key);
    await store.collectOrphans();
    expect(await readdir(rootfs)).toEqual([key]);
  });

  test('goes from published root filesystems, too: they were writing a record', async () => {
    const key = hexOf('a root filesystem');
    await publishRootfs(store, key);
    const folder = join(directory.path, 'rootfs', 'sha256', key);
    const names = await readdir(folder);
    await writeFile(join(folder, temporaryName({ ...(await ownIdentity()), startTime: '1' })), '{"si');
    await store.collectOrphans();
    expect(await readdir(folder)).toEqual(names);
  });

  test('is removed from the catalog too', async () => {
    const key = hexOf('a root filesystem');
    await publishRootfs(store, key);
    await store.images.put('local', imageEntry('python', key));
    const folder = join(directory.path, 'images', 'local');
    await writeFile(join(folder, temporaryName({ ...(await ownIdentity()), startTime: '1' })), '{"na');
    await store.collectOrphans();
    expect(await readdir(folder)).toEqual(['python.json']);
  });
});

describe('temporary names', () => {
  test('say whose they are, and are new each time', () => {
    const word = fc.stringMatching(/^[A-Za-z0-9.-]{1,64}$/);
    const digits = fc.integer({ min: 1 }).map(String);
    const maker = fc.record({
      host: word,
      bootId: word,
      pidNamespace: word,
      pid: fc.integer({ min: 1 }),
      startTime: digits,
    });
    fc.assert(
      fc.property(maker, (identity) => {
        const name = temporaryName(identity);
        expect(parseTemporaryName(name)).toEqual(identity);
        expect(Buffer.byteLength(name)).toBeLessThanOrEqual(255);
        expect(temporaryName(identity)).not.toBe(name);
        const labelled = temporaryName(identity, 'Name_1.0-rc');
        expect([parseTemporaryName(labelled), temporaryLabel(labelled)]).toEqual([identity, 'Name_1.0-rc']);
        expect(temporaryLabel(name)).toBeUndefined();
      }),
    );
  });

  test('are never taken for entries', async () => {
    const name = temporaryName(await ownIdentity(), 'python');
    for (const text of [`x${name}`, `${name}/x`, `${name}~x`, ` ${name}`]) {
      expect([parseTemporaryName(text), temporaryLabel(text)]).toEqual([undefined, undefined]);
    }
    fc.assert(fc.property(fc.string(), (text) => text.startsWith('.tmp~') || parseTemporaryName(text) === undefined));
  });
});
