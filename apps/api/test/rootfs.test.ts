import { spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, readlink, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Agent, request } from 'undici';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import { findProgram } from '../images/rootfs-compression.ts';
import { startTestApi, type TestApi } from './support/api.ts';
import { putImage, recordDigest } from './support/image.ts';

/** The built command line. */
const program = fileURLToPath(new URL('../../../dist/cli.js', import.meta.url));

const MEGABYTE = 1024 * 1024;
const countOf = (text: string, bytes: Buffer) => {
  let count = 0;
  for (let at = bytes.indexOf(text); at !== -1; at = bytes.indexOf(text, at + 1)) count += 1;
  return count;
};
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

describe('the root file system of an image', () => {
  let redis: TestRedis;
  let api: TestApi;
  let agent: Agent;
  /** Data, 4 MB of a hole, data: compressed, still several times what the buffers between zstd and a client hold. */
  const bytes = Buffer.concat([randomBytes(2 * MEGABYTE + 5), Buffer.alloc(4 * MEGABYTE), randomBytes(MEGABYTE / 2)]);
  const digest = sha256(bytes);
  beforeAll(async () => {
    redis = await startRedis();
    api = await startTestApi(redis.url);
    agent = new Agent({ connect: { socketPath: api.socketPath } });
    await putImage(api.store, { name: 'app' }, 'local', { content: bytes, sha256: digest });
  });
  afterAll(async () => {
    await agent.destroy();
    await api.close();
    await redis.stop();
  });

  const ask = async (headers: Record<string, string> = {}, method: 'GET' | 'HEAD' = 'GET', name = 'app') => {
    const path = `http://localhost/images/${name}/rootfs`;
    const response = await request(path, { dispatcher: agent, method, headers });
    return {
      status: response.statusCode,
      headers: response.headers,
      body: Buffer.from(await response.body.arrayBuffer()),
    };
  };

  /** Files of root file systems that this process has open. */
  const openFiles = async () => {
    const targets = (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => ''));
    return (await Promise.all(targets)).filter((target) => target.startsWith(api.directory) && /ext4/.test(target));
  };
  const untilClosed = async () => {
    while ((await openFiles()).length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  };

  test('comes whole, with its SHA-256 as tag', async () => {
    const answer = await ask();
    expect(answer.status).toBe(200);
    expect(answer.headers).toMatchObject({
      etag: `"${digest}"`,
      'content-type': 'application/octet-stream',
      'content-length': String(bytes.length),
      'accept-ranges': 'bytes',
      'content-disposition': 'attachment; filename="app.ext4"',
    });
    expect(sha256(answer.body)).toBe(digest);
    await untilClosed();
  });

  test('HEAD tells the same and sends nothing', async () => {
    const answer = await ask({ range: 'bytes=0-1' }, 'HEAD');
    expect(answer).toMatchObject({ status: 200, headers: { 'content-length': String(bytes.length) } });
    expect(answer.body).toHaveLength(0);
    await untilClosed();
  });

  test('a range is 206, one beyond the end 416, of another file the whole', async () => {
    const part = await ask({ range: 'bytes=100-299', 'if-range': `"${digest}"`, 'accept-encoding': 'gzip' });
    expect(part.status).toBe(206);
    expect(part.headers).toMatchObject({
      'content-range': `bytes 100-299/${bytes.length}`,
      'content-length': '200',
    });
    expect(part.headers['content-encoding']).toBeUndefined();
    expect(part.body.equals(bytes.subarray(100, 300))).toBe(true);
    const beyond = await api.send('GET', '/images/app/rootfs', { headers: { range: `bytes=${bytes.length}-` } });
    expect(beyond).toMatchObject({ status: 416, body: { code: 'range_not_satisfiable' } });
    expect(beyond.headers['content-range']).toBe(`bytes */${bytes.length}`);
    const other = await ask({ range: 'bytes=100-299', 'if-range': '"another"' });
    expect(other).toMatchObject({ status: 200, headers: { 'content-length': String(bytes.length) } });
    await untilClosed();
  });

  test('gzip for who accepts it, with a tag of its own', async () => {
    const answer = await ask({ 'accept-encoding': 'br, gzip' });
    expect(answer.headers).toMatchObject({ etag: `"${digest}-gzip"`, 'content-encoding': 'gzip' });
    expect(answer.headers['content-length']).toBeUndefined();
    expect(answer.body.length).toBeLessThan(bytes.length / 2);
    expect(sha256(gunzipSync(answer.body))).toBe(digest);
    for (const refused of ['gzip;q=0', 'identity, gzip;q=0.5', '*', 'zstd;q=0', 'x-zstd', 'nonsense;;q=']) {
      expect((await ask({ 'accept-encoding': refused }, 'HEAD')).headers['content-encoding']).toBeUndefined();
    }
    await untilClosed();
  });

  /** Pids of the compressors that this process, which runs the API, has started. */
  const compressors = async () => {
    const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
    const stats = await Promise.all(ids.map((id) => readFile(`/proc/${id}/stat`, 'utf8').catch(() => '')));
    return stats.flatMap((text) => {
      const [, id, parent] = /^(\d+) \(zstd\) \S (\d+) /.exec(text) ?? [];
      return Number(parent) === process.pid ? [Number(id)] : [];
    });
  };
  const untilNoCompressor = async () => {
    while ((await compressors()).length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  /** Decompresses with the program itself, which reports a missing end. */
  const decompressed = (body: Buffer) => {
    const { status, stdout } = spawnSync('zstd', ['-d', '-c', '-q'], { input: body, maxBuffer: 64 * MEGABYTE });
    expect(status).toBe(0);
    return stdout;
  };
  /** A client that reads the first bytes of an answer, and no more. */
  const slowClient = async (coding: string) => {
    const socket = connect(api.socketPath);
    socket.on('error', () => {});
    socket.write(`GET /images/app/rootfs HTTP/1.1\r\nHost: x\r\nAccept-Encoding: ${coding}\r\n\r\n`);
    const [head] = await once(socket, 'data');
    socket.pause();
    return { socket, head: String(head) };
  };

  test('zstd for who accepts it, in preference to gzip, two at once', async () => {
    const answers = await Promise.all(['zstd', 'gzip, br, zstd'].map((coding) => ask({ 'accept-encoding': coding })));
    for (const answer of answers) {
      expect(answer.headers).toMatchObject({
        etag: `"${digest}-zstd"`,
        'content-encoding': 'zstd',
        vary: 'Accept-Encoding',
        'content-disposition': 'attachment; filename="app.ext4"',
      });
      expect(answer.headers['content-length']).toBeUndefined();
    }
    const [first, second] = answers.map(({ body }) => body);
    if (first === undefined || second === undefined) throw new Error('there are two answers');
    expect(first.length).toBeLessThan(bytes.length / 2);
    expect(sha256(decompressed(first))).toBe(digest);
    expect(second.equals(first)).toBe(true);
    const wanted = { 'zstd;q=0.5, gzip': 'gzip', 'gzip;q=0.5, ZSTD': 'zstd', 'identity, zstd;q=0.9': undefined };
    for (const [accepted, coding] of Object.entries(wanted)) {
      const head = await ask({ 'accept-encoding': accepted }, 'HEAD');
      expect([accepted, head.headers['content-encoding']]).toEqual([accepted, coding]);
      expect(head.body).toHaveLength(0);
    }
    const part = await ask({ range: 'bytes=100-299', 'accept-encoding': 'zstd' });
    expect([part.status, part.headers['content-encoding']]).toEqual([206, undefined]);
    await untilNoCompressor();
    await untilClosed();
  });

  test('no more than two processes of zstd; who comes then gets gzip, or the file as it is', async () => {
    const clients = [await slowClient('zstd'), await slowClient('zstd, gzip')];
    for (const { head } of clients) expect(head).toMatch(/content-encoding: zstd/i);
    expect(await compressors()).toHaveLength(2);
    const third = await ask({ 'accept-encoding': 'zstd, gzip' });
    expect(third.headers['content-encoding']).toBe('gzip');
    expect(sha256(gunzipSync(third.body))).toBe(digest);
    const fourth = await ask({ 'accept-encoding': 'zstd' });
    expect(fourth.headers['content-encoding']).toBeUndefined();
    expect(sha256(fourth.body)).toBe(digest);
    // The clients leave half-way: no process stays, and the next is served again.
    for (const { socket } of clients) socket.destroy();
    await untilNoCompressor();
    expect((await ask({ 'accept-encoding': 'zstd' })).headers['content-encoding']).toBe('zstd');
    await untilNoCompressor();
  });

  test('requests in one go are answered one after the other, and not at all once the client has left', async () => {
    const get = 'GET /images/app/rootfs HTTP/1.1\r\nHost: x\r\n\r\n';
    const all = connect(api.socketPath);
    all.write(`${get}${get}${get.replace('Host', 'Connection: close\r\nHost')}`);
    const answers = await buffer(all);
    expect(countOf('HTTP/1.1 200 OK', answers)).toBe(3);
    expect(answers.subarray(-bytes.length).equals(bytes)).toBe(true);
    await untilClosed();
    const leaver = connect(api.socketPath);
    leaver.write(get.repeat(3));
    await once(leaver, 'readable');
    expect(await openFiles()).toHaveLength(1);
    leaver.destroy();
    await untilClosed();
  });

  test('zstd that dies half-way ends the answer, not well, and nothing else', async () => {
    const response = await request('http://localhost/images/app/rootfs', {
      dispatcher: agent,
      headers: { 'accept-encoding': 'zstd' },
    });
    const [id] = await compressors();
    if (id === undefined) throw new Error('no zstd runs');
    process.kill(id, 'SIGKILL');
    await expect(response.body.arrayBuffer()).rejects.toThrow();
    expect(api.log()).toContain('zstd ended with SIGKILL');
    expect((await ask()).status).toBe(200);
  });

  test('without the program, or once it has gone, gzip', async () => {
    const bin = await mkdtemp(join(tmpdir(), 'bhatti-bin-'));
    await writeFile(join(bin, 'zstd'), 'no program');
    expect(await findProgram('zstd', undefined)).toBeNull();
    expect(await findProgram('zstd', `relative:${bin}`)).toBeNull();
    await rm(join(bin, 'zstd'));
    const real = await findProgram('zstd', process.env.PATH);
    if (real === null) throw new Error('zstd is not installed: scripts/setup.sh zstd');
    await symlink(real, join(bin, 'zstd'));
    for (const path of [join(bin, 'nothing'), bin]) {
      const other = await startTestApi(redis.url, undefined, { PATH: path });
      try {
        const content = randomBytes(1000);
        await putImage(other.store, { name: 'app' }, 'local', { content });
        const zstd = async () => {
          const response = await request(`${other.url}/images/app/rootfs`, {
            headers: { 'accept-encoding': 'zstd, gzip', authorization: `Bearer ${other.token}` },
          });
          const body = Buffer.from(await response.body.arrayBuffer());
          return { coding: response.headers['content-encoding'], body };
        };
        if (path === bin) {
          expect((await zstd()).coding).toBe('zstd');
          await rm(join(bin, 'zstd'));
        }
        const answer = await zstd();
        expect(answer.coding).toBe('gzip');
        expect(gunzipSync(answer.body).equals(content)).toBe(true);
      } finally {
        await other.close();
      }
    }
    await rm(bin, { recursive: true });
  });

  test('304 for what the client has, compressed or not', async () => {
    for (const tag of [`"${digest}"`, `"${digest}-gzip"`, `"${digest}-zstd"`, '*', `"x", W/"${digest}"`]) {
      const answer = await ask({ 'if-none-match': tag, range: 'bytes=0-1' });
      expect(answer).toMatchObject({ status: 304, body: Buffer.alloc(0) });
      expect(answer.headers.etag).toContain(digest);
    }
    await untilClosed();
  });

  test('without a recorded SHA-256 the tag is no checksum, and changes with the build', async () => {
    const entry = await putImage(api.store, { name: 'old' });
    const tag = String((await ask({}, 'HEAD', 'old')).headers.etag);
    expect(tag).toMatch(/^"[\w-]{43}"$/);
    await putImage(api.store, { name: 'old', createdAt: '2026-02-02T00:00:00.000Z' });
    expect((await ask({}, 'HEAD', 'old')).headers.etag).not.toBe(tag);
    expect(entry.rootfsKey).not.toBe(tag);
  });

  test('who began with that tag goes on when the SHA-256 is recorded', async () => {
    const { rootfsKey } = await putImage(api.store, { name: 'fresh' }, 'local', { content: bytes });
    const tag = String((await ask({}, 'HEAD', 'fresh')).headers.etag);
    await recordDigest(api.store, rootfsKey, digest);
    const rest = await ask({ range: 'bytes=10-', 'if-range': tag, 'if-match': tag }, 'GET', 'fresh');
    expect(rest).toMatchObject({ status: 206, headers: { etag: `"${digest}"` } });
    expect(rest.body.equals(bytes.subarray(10))).toBe(true);
    expect((await ask({ 'if-none-match': tag }, 'GET', 'fresh')).status).toBe(304);
    await untilClosed();
  });

  test('what is not there, or no name, is 404', async () => {
    for (const name of ['nothing', '..%2f..%2fetc', 'a%00b']) {
      expect(await api.send('GET', `/images/${name}/rootfs`)).toMatchObject({
        status: 404,
        body: { code: 'not_found' },
      });
    }
  });

  test('of a file that was cut short, or grew, nothing is sent', async () => {
    const { rootfsKey } = await putImage(api.store, { name: 'cut' }, 'local', { content: bytes, sha256: digest });
    const path = api.store.rootfs.path(rootfsKey);
    for (const size of [4096, bytes.length + 4096]) {
      await truncate(path, size);
      const asked: Record<string, string>[] = [{}, { range: 'bytes=0-99' }, { 'accept-encoding': 'zstd' }];
      for (const headers of asked) {
        const answer = await api.send('GET', '/images/cut/rootfs', { headers });
        expect(answer).toMatchObject({ status: 500, body: { code: 'rootfs_damaged' } });
        expect(answer.text).toContain(
          `${path} has ${size} bytes where ${bytes.length} were built; pull the image again`,
        );
      }
      expect((await api.send('HEAD', '/images/cut/rootfs')).status).toBe(500);
    }
    await untilClosed();
  });

  test('an image that is deleted while it streams arrives whole', async () => {
    await putImage(api.store, { name: 'gone' }, 'local', { content: bytes, sha256: digest });
    const response = await request('http://localhost/images/gone/rootfs', { dispatcher: agent });
    await api.send('DELETE', '/images/gone');
    await api.store.removeUnreferenced({ isNeeded: async () => false });
    expect((await api.send('GET', '/images/gone/rootfs')).status).toBe(404);
    expect(sha256(Buffer.from(await response.body.arrayBuffer()))).toBe(digest);
    await untilClosed();
  });

  test.each(['identity', 'gzip'])('a client that leaves frees the file (%s)', async (coding) => {
    // Once the client stops reading, the rest of the file waits on the disk, not in memory.
    const { socket } = await slowClient(coding);
    expect(await openFiles()).toHaveLength(1);
    socket.destroy();
    await untilClosed();
  });

  describe('bhatti image export', () => {
    let directory: string;
    beforeAll(async () => {
      directory = await mkdtemp(join(tmpdir(), 'bhatti-export-'));
    });
    afterAll(async () => {
      await rm(directory, { recursive: true });
    });

    const bhatti = async (...args: string[]) => {
      const env = { PATH: process.env.PATH, HOME: directory, BHATTI_URL: api.url, BHATTI_TOKEN: api.token };
      const child = spawn(process.execPath, [program, ...args], { cwd: directory, env });
      const output = { stdout: '', stderr: '' };
      child.stdout.on('data', (data) => {
        output.stdout += data;
      });
      child.stderr.on('data', (data) => {
        output.stderr += data;
      });
      const [exitCode] = await once(child, 'close');
      return { exitCode, ...output };
    };

    test('writes the very file, sparse', async () => {
      expect(await bhatti('image', 'export', 'app', '-o', 'app.ext4')).toMatchObject({ exitCode: 0, stderr: '' });
      const path = join(directory, 'app.ext4');
      expect(sha256(await readFile(path))).toBe(digest);
      expect((await stat(path)).blocks * 512).toBeLessThan(bytes.length - 3 * MEGABYTE);
      await rm(path);
    });

    test('writes nothing of a file that was cut short at the server', async () => {
      const { rootfsKey } = await putImage(api.store, { name: 'short' }, 'local', { content: bytes });
      await truncate(api.store.rootfs.path(rootfsKey), MEGABYTE);
      const { exitCode, stderr } = await bhatti('image', 'export', 'short', '-o', 'short.ext4');
      expect([exitCode, stderr]).toEqual([1, expect.stringContaining('pull the image again')]);
      expect((await readdir(directory)).filter((name) => name.includes('short'))).toEqual([]);
    });

    test('goes on where it stopped', async () => {
      const partial = join(directory, `.app.ext4.${digest.slice(0, 16)}.partial`);
      await writeFile(partial, bytes);
      await truncate(partial, MEGABYTE);
      expect(await bhatti('image', 'export', 'app', '-o', 'app.ext4')).toMatchObject({ exitCode: 0, stderr: '' });
      expect(sha256(await readFile(join(directory, 'app.ext4')))).toBe(digest);
      expect(await readdir(directory)).not.toContain(partial);
      const sent = api.log().match(/"path":"\/images\/app\/rootfs","status":206/g);
      expect(sent).not.toBeNull();
    });

    test('goes on with what came before the SHA-256 was recorded', async () => {
      const { rootfsKey } = await putImage(api.store, { name: 'early' }, 'local', { content: bytes });
      const { etag } = (await ask({}, 'HEAD', 'early')).headers;
      const partial = join(directory, `.early.ext4.${String(etag).slice(1, -1)}.partial`);
      await writeFile(partial, bytes.subarray(0, MEGABYTE));
      await recordDigest(api.store, rootfsKey, digest);
      expect(await bhatti('image', 'export', 'early')).toMatchObject({ exitCode: 0, stderr: '' });
      expect(sha256(await readFile(join(directory, 'early.ext4')))).toBe(digest);
      expect(api.log()).toContain(`"path":"/images/early/rootfs","status":206`);
    });
  });
});
