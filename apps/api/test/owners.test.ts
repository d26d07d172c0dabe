import { stat } from 'node:fs/promises';
import { connectRedis, createTaskQueue, enqueuePull, TaskClaims } from '@bhatti/tasks';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import * as z from 'zod';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import { errorBody, queuePull, startTestApi, type TestApi } from './support/api.ts';
import { putImage, putLayer, untilRemoved } from './support/image.ts';

const listed = z.looseObject({ images: z.array(z.looseObject({ name: z.string(), owner: z.string() })) });

let redis: TestRedis;
let api: TestApi;
let alice: Record<string, string>;
let bob: Record<string, string>;
let admin: Record<string, string>;
let aliceTask: string;

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const names = async (headers: Record<string, string>) =>
  listed
    .parse((await api.sendTcp('GET', '/images', { headers })).body)
    .images.map(({ name, owner }) => `${owner}/${name}`);

beforeAll(async () => {
  redis = await startRedis();
  api = await startTestApi(redis.url);
  alice = bearer((await api.store.users.create('alice', 'user')).token);
  bob = bearer((await api.store.users.create('bob', 'user')).token);
  admin = bearer((await api.store.users.create('root', 'admin')).token);
  await putImage(api.store, { name: 'private' }, 'alice');
  await putImage(api.store, { name: 'global' }, 'alice');
  await putImage(api.store, { name: 'mine' }, 'bob');
  await api.store.images.put('alice', { ...(await putImage(api.store, { name: 'global' }, 'alice')), shared: true });
  const connection = connectRedis(redis.url, { use: 'request' });
  const queue = createTaskQueue(connection);
  const data = { reference: 'docker.io/library/a:1', requested: 'a:1', name: 'a', owner: 'alice' };
  aliceTask = (await enqueuePull(queue, data)).id;
  await queue.close();
  connection.disconnect();
});
afterAll(async () => {
  await api.close();
  await redis.stop();
});

/** How to ask each route for what is alice's. A route that is not open and takes a name or an id has to hide it from bob. */
const pathOf = (path: string) => path.replace(':name', 'private').replace(':id', aliceTask);

describe('every route of the table', () => {
  test('asks who it is, and tells bob nothing of what is alice’s', async () => {
    expect(api.routes.length).toBeGreaterThan(8);
    for (const { method, path, open } of api.routes) {
      const what = `${method} ${path}`;
      const ask = async (headers: Record<string, string>) =>
        [what, (await api.sendTcp(method, pathOf(path), { headers })).status] as const;
      if (open) {
        // There is no worker, so /ready answers 503.
        expect(await ask({})).toEqual([what, path === '/ready' ? 503 : 200]);
        continue;
      }
      expect(await ask({})).toEqual([what, 401]);
      if (/:(name|id)/.test(path)) expect(await ask(bob)).toEqual([what, 404]);
      else expect((await ask(bob))[1]).not.toBe(401);
    }
    // Deletions first: the stream of a task's events ends when the task is cancelled.
    const deletions = api.routes.filter(({ method }) => method === 'DELETE');
    for (const { method, path } of [...deletions, ...api.routes.filter((route) => !deletions.includes(route))]) {
      const { status } = await api.sendTcp(method, pathOf(path), { headers: admin });
      expect([401, 404]).not.toContain(status);
    }
  });

  test('lists tasks to their owner, and to an admin', async () => {
    const lists = async (headers: Record<string, string>) =>
      (await api.sendTcp('GET', '/tasks', { headers })).text.includes(aliceTask);
    expect([await lists(alice), await lists(bob), await lists(admin)]).toEqual([true, false, true]);
  });

  test('leaves what is another’s as it was', async () => {
    await putImage(api.store, { name: 'private' }, 'alice');
    for (const { method, path } of api.routes.filter((route) => /:(name|id)/.test(route.path))) {
      const query = path.startsWith('/images') ? '?owner=alice' : '';
      const answer = await api.sendTcp(method, `${pathOf(path)}${query}`, { headers: bob });
      expect([method, path, answer.status]).toEqual([method, path, 404]);
    }
    expect(await api.store.images.get('alice', 'private')).not.toBeNull();
  });
});

describe('every page of the table, and the queue board', () => {
  /** What pages answer without a session. A page that is not listed redirects to the log-in. */
  const open: Readonly<Record<string, number>> = {
    'GET /login': 200,
    'POST /login': 401,
    'POST /logout': 403,
    'GET /ui/assets/icon.svg': 200,
    'GET /ui/assets/page.js': 200,
    'GET /ui/assets/style.css': 200,
  };
  /** What forms answer to bob: one is sent without its fields, and an image that bob cannot see counts as deleted. */
  const forms: Readonly<Record<string, number>> = {
    'POST /login': 401,
    'POST /ui/pull': 400,
    'POST /ui/images/:name/delete': 303,
  };
  const formType = { 'content-type': 'application/x-www-form-urlencoded' };
  const board = [
    { method: 'GET', path: '/admin/queues' },
    { method: 'GET', path: '/admin/queues/api/queues' },
    { method: 'PUT', path: '/admin/queues/api/queues/images/pause' },
    { method: 'PUT', path: '/admin/queues/api/queues/images/clean/wait' },
  ];

  test('leads who is not known to the log-in', async () => {
    expect(api.pages.length).toBeGreaterThan(10);
    let lastAddress = 1;
    for (const { method, path } of [...api.pages, ...board]) {
      const what = `${method} ${path}`;
      const sendTcp = api.sendTcpFrom(`127.0.1.${++lastAddress}`);
      const unknown: Record<string, string>[] = [
        {},
        bearer(`bht_${'a'.repeat(40)}`),
        { cookie: 'bhatti_session=AAAA' },
      ];
      for (const headers of unknown) {
        const form = method === 'POST' ? { raw: 'token=wrong', headers: { ...formType, ...headers } } : { headers };
        const answer = await sendTcp(method, pathOf(path), form);
        const expected = open[what];
        expect([what, answer.status]).toEqual([what, expected ?? 303]);
        if (expected === undefined) expect(answer.headers.location).toBe('/login');
        expect(answer.text).not.toContain(aliceTask);
      }
    }
  });

  test('tells bob nothing of what is alice’s, and changes none of it', async () => {
    await putImage(api.store, { name: 'private' }, 'alice');
    const raw = new URLSearchParams({ token: String(bob.authorization).slice(7) }).toString();
    const login = await api.sendTcp('POST', '/login', { raw, headers: formType });
    const cookie = String(login.headers['set-cookie']).split(';', 1)[0] ?? '';
    const { text } = await api.sendTcp('GET', '/', { headers: { cookie } });
    const formToken = /name="form_token" value="([^"]+)"/.exec(text)?.[1] ?? '';
    const form = { raw: new URLSearchParams({ form_token: formToken }).toString(), headers: { ...formType, cookie } };
    for (const { method, path } of api.pages) {
      // Logging out comes last; what `/ui/events` tells whom is tested in page.test.ts.
      if (path === '/logout' || path === '/ui/events') continue;
      const what = `${method} ${path}`;
      const ask = method === 'POST' ? form : { headers: { cookie } };
      for (const query of ['', '?owner=alice']) {
        const answer = await api.sendTcp(method, `${pathOf(path)}${query}`, ask);
        const hidden = /:(name|id)/.test(path);
        expect([what, answer.status]).toEqual([what, forms[what] ?? (hidden ? 404 : 200)]);
        // The 404 quotes the name that was asked for.
        const told = hidden ? [] : [aliceTask, 'private'].filter((secret) => answer.text.includes(secret));
        expect([what, told]).toEqual([what, []]);
      }
    }
    for (const { method, path } of board) {
      expect([path, (await api.sendTcp(method, path, { headers: { cookie } })).status]).toEqual([path, 403]);
    }
    expect((await api.sendTcp('POST', '/logout', form)).status).toBe(303);
    expect(await api.store.images.get('alice', 'private')).not.toBeNull();
  });
});

describe('images', () => {
  test('are the own ones and the shared ones, and all for an admin', async () => {
    await putImage(api.store, { name: 'private' }, 'alice');
    expect(await names(bob)).toEqual(['alice/global', 'bob/mine']);
    expect(await names(alice)).toEqual(['alice/global', 'alice/private']);
    expect((await names(admin)).sort()).toEqual(['alice/global', 'alice/private', 'bob/mine']);
    expect((await api.sendTcp('GET', '/images/global', { headers: bob })).status).toBe(200);
  });

  test('that are shared are not for others to delete', async () => {
    const answer = await api.sendTcp('DELETE', '/images/global', { headers: bob });
    expect([answer.status, errorBody.parse(answer.body).code]).toEqual([403, 'forbidden']);
    expect((await api.sendTcp('DELETE', '/images/global', { headers: admin })).status).toBe(403);
    // Nor by saying whose they are, which only an admin may.
    expect((await api.sendTcp('DELETE', '/images/global?owner=alice', { headers: bob })).status).toBe(403);
    expect(await api.store.images.get('alice', 'global')).not.toBeNull();
  });

  test('of one name: the own one is meant, else the shared one, whoever else has one', async () => {
    const ownerSeen = async (headers: Record<string, string>, query = '') => {
      const { body } = await api.sendTcp('GET', `/images/same${query}`, { headers });
      return z.looseObject({ owner: z.string() }).parse(body).owner;
    };
    await putImage(api.store, { name: 'same' }, 'aaron');
    await putImage(api.store, { name: 'same', shared: true }, 'alice');
    expect(await Promise.all([alice, bob, admin].map((who) => ownerSeen(who)))).toEqual(['alice', 'alice', 'alice']);
    for (const owner of ['bob', 'root']) await putImage(api.store, { name: 'same' }, owner);
    expect(await Promise.all([alice, bob, admin].map((who) => ownerSeen(who)))).toEqual(['alice', 'bob', 'root']);
    expect(await ownerSeen(bob, '?owner=alice')).toBe('alice');
    expect(await ownerSeen(admin, '?owner=aaron')).toBe('aaron');
    expect((await api.sendTcp('GET', '/images/same?owner=aaron', { headers: bob })).status).toBe(404);
    for (const owner of ['aaron', 'alice', 'bob', 'root']) await api.store.images.delete(owner, 'same');
    await api.store.removeUnreferenced({ isNeeded: async () => false });
  });

  test('are shared by admins, and taken back', async () => {
    const share = (method: string, headers: Record<string, string>) =>
      api.sendTcp(method, '/images/mine/share', { headers });
    expect((await share('PUT', bob)).status).toBe(403);
    expect((await share('PUT', admin)).body).toMatchObject({ name: 'mine', owner: 'bob', shared: true });
    expect(await names(alice)).toContain('bob/mine');
    expect((await share('DELETE', admin)).body).toMatchObject({ shared: false });
    expect(await names(alice)).not.toContain('bob/mine');
  });

  test('that nobody names, and layers that no task needs, are pruned by an admin', async () => {
    const needed = await putLayer(api.store, 'needed');
    await putLayer(api.store, 'unneeded');
    const connection = connectRedis(redis.url, { use: 'request' });
    const queue = createTaskQueue(connection);
    const data = { reference: 'docker.io/library/b:1', requested: 'b:1', name: 'b', owner: 'alice' };
    const { id } = await enqueuePull(queue, data);
    await new TaskClaims(connection, 'layer', async () => true).claim(id, [needed]);
    // Both in the middle of a pull: one has no name yet, the other's name was taken away.
    await api.store.removeUnreferenced({ isNeeded: async () => false });
    const unnamed = async (name: string) => {
      const { rootfsKey } = await putImage(api.store, { name }, 'bob', { content: Buffer.from(name) });
      await api.store.images.delete('bob', name);
      return rootfsKey;
    };
    const [about, gone] = [await unnamed('about-to-be-named'), await unnamed('deleted')];
    await new TaskClaims(connection, 'rootfs', async () => true).claim(id, [about]);
    await queue.close();
    connection.disconnect();
    const prune = (headers: Record<string, string>, body?: object) =>
      api.sendTcp('POST', '/images/prune', { headers, ...(body && { body }) });
    expect((await prune(bob)).status).toBe(403);
    const would = await prune(admin, { dry_run: true });
    expect(would.body).toMatchObject({ layers: 1, rootfs: 1, downloads: 0, dry_run: true });
    const pruned = await prune(admin);
    expect(pruned.body).toEqual({ ...Object(would.body), dry_run: false });
    expect(pruned.body).toMatchObject({ freed_bytes: expect.any(Number) });
    expect((await api.store.layers.list()).map(({ hex }) => `sha256:${hex}`)).toEqual([needed]);
    expect(await Promise.all([about, gone].map((key) => api.store.rootfs.has(key)))).toEqual([true, false]);
    expect((await prune(admin)).body).toMatchObject({ freed_bytes: 0, layers: 0, rootfs: 0 });
    expect((await prune(admin, { dry_run: 'yes' })).status).toBe(400);
  });

  test('are deleted by an admin who says whose', async () => {
    const image = await putImage(api.store, { name: 'old' }, 'bob');
    expect((await api.sendTcp('DELETE', '/images/old?owner=bob', { headers: admin })).status).toBe(204);
    expect(await api.store.images.get('bob', 'old')).toBeNull();
    await untilRemoved(api.store, image);
  });
});

describe('tokens', () => {
  test('of a deleted user are refused at once; the images stay', async () => {
    const carol = bearer((await api.store.users.create('carol', 'user')).token);
    await putImage(api.store, { name: 'left' }, 'carol');
    expect(await names(carol)).toContain('carol/left');
    await api.store.users.delete('carol');
    expect((await api.sendTcp('GET', '/images', { headers: carol })).status).toBe(401);
    expect(await api.store.images.get('carol', 'left')).not.toBeNull();
  });

  test('that are taken away end what they wait for, and say so', async () => {
    const { token } = await api.store.users.create('dave', 'user');
    const dave = { headers: bearer(token) };
    const login = await api.sendTcp('POST', '/login', {
      raw: new URLSearchParams({ token }).toString(),
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    });
    const cookie = String(login.headers['set-cookie']).split(';', 1)[0] ?? '';
    const id = await queuePull((method, path, ask) => api.sendTcp(method, path, { ...ask, ...dave }), { ref: 'c:1' });
    const waiting = api.sendTcp('GET', `/tasks/${id}?wait=60`, dave);
    // They have begun to answer, so the caller has been authenticated.
    const events = await fetch(`${api.url}/tasks/${id}/events`, dave);
    const page = await fetch(`${api.url}/ui/events`, { headers: { cookie } });
    await api.store.users.rotateToken('dave');
    expect((await api.sendTcp('DELETE', `/tasks/${id}`, { headers: admin })).status).toBe(202);
    const answer = await waiting;
    expect([answer.status, errorBody.parse(answer.body).code]).toEqual([401, 'unauthorized']);
    const told = await events.text();
    expect(told.match(/^event: .*$/gm)).toEqual(['event: task', 'event: problem']);
    const [, problem = ''] = /^event: problem\ndata: (.*)$/m.exec(told) ?? [];
    expect(errorBody.parse(JSON.parse(problem))).toMatchObject({ code: 'unauthorized' });
    expect(told).not.toContain('"status":"cancelled"');
    await expect(page.text()).rejects.toThrow();
  });

  test('that are wrong too often are told to wait; a valid one is not', async () => {
    const statuses: number[] = [];
    let retryAfter: unknown;
    for (let tried = 0; tried < 40; tried++) {
      const answer = await api.sendTcp('GET', '/images', { headers: bearer(`bht_${String(tried).padStart(40, '0')}`) });
      statuses.push(answer.status);
      retryAfter = answer.headers['retry-after'];
    }
    expect(new Set(statuses)).toEqual(new Set([401, 429]));
    expect(Number(retryAfter)).toBeGreaterThan(0);
    expect((await api.sendTcp('GET', '/images', { headers: alice })).status).toBe(200);
  });

  test('are in no log', async () => {
    for (const { authorization = '' } of [alice, bob, admin]) expect(api.log()).not.toContain(authorization.slice(7));
    expect((await stat(api.store.paths.usersFile)).mode & 0o777).toBe(0o600);
  });
});
