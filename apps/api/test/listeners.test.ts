import { mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { closeServer, ListenError, listenOnSocket, listenOnTcp, urlOf } from '../listeners.ts';

describe('listeners', () => {
  let directory: string;
  let servers: Server[];
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'bhatti-listen-'));
    servers = [];
  });
  afterEach(async () => {
    await Promise.all(servers.map((server) => closeServer(server, 0)));
    await rm(directory, { recursive: true });
  });

  function keep<Kept extends Server | null>(server: Kept): Kept {
    if (server !== null) servers.push(server);
    return server;
  }

  async function takenPort(): Promise<number> {
    const server = keep(createServer());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return Number(new URL(urlOf(server, { host: '127.0.0.1', port: 0, explicit: true })).port);
  }

  test('the default address may be taken, one that was asked for may not', async () => {
    const port = await takenPort();
    expect(await listenOnTcp({ host: '127.0.0.1', port, explicit: false }, () => {})).toBeNull();
    await expect(listenOnTcp({ host: '127.0.0.1', port, explicit: true }, () => {})).rejects.toThrow(
      `cannot listen on 127.0.0.1:${port}: the port is taken; set BHATTI_LISTEN`,
    );
  });

  test('a socket that answers is not taken over', async () => {
    const path = join(directory, 'api.sock');
    keep(await listenOnSocket(path, () => {}));
    await expect(listenOnSocket(path, () => {})).rejects.toThrow(/another API is running on this data directory/);
    expect((await stat(path)).isSocket()).toBe(true);
  });

  test('whatever else has the name of the socket is replaced', async () => {
    const path = join(directory, 'api.sock');
    await writeFile(path, 'left behind');
    keep(await listenOnSocket(path, () => {}));
    expect((await stat(path)).isSocket()).toBe(true);
  });

  test('a socket is removed with its server, and not when it is that of an API on another host meanwhile', async () => {
    const path = join(directory, 'api.sock');
    const ended = await listenOnSocket(path, () => {});
    await closeServer(ended, 0);
    expect(await readdir(directory)).toEqual([]);
    const first = await listenOnSocket(path, () => {});
    const other = keep(await listenOnSocket(join(directory, 'other.sock'), () => {}));
    await rename(join(directory, 'other.sock'), path);
    await closeServer(first, 0);
    expect(await readdir(directory)).toEqual(['api.sock']);
    await expect(listenOnSocket(path, () => {})).rejects.toThrow(/answers/);
    expect(other.listening).toBe(true);
  });

  test('a folder with the name of the socket is refused, and nothing is left behind or listens', async () => {
    const path = join(directory, 'api.sock');
    await mkdir(path);
    await expect(listenOnSocket(path, () => {})).rejects.toMatchObject({ code: 'EISDIR' });
    expect(await readdir(directory)).toEqual(['api.sock']);
  });

  test('a server closes whatever has become of the folder of its socket', async () => {
    const folder = join(directory, 'run');
    await mkdir(folder);
    const server = await listenOnSocket(join(folder, 'api.sock'), () => {});
    await rename(folder, join(directory, 'moved'));
    await writeFile(folder, 'no folder');
    await closeServer(server, 0);
    expect(server.listening).toBe(false);
  });

  test('a path that is too long for a socket is explained', async () => {
    const path = join(directory, 'x'.repeat(100), 'api.sock');
    await expect(listenOnSocket(path, () => {})).rejects.toThrow(ListenError);
    await expect(listenOnSocket(path, () => {})).rejects.toThrow(/longer than 107 bytes.+BHATTI_DATA_DIR/);
  });
});
