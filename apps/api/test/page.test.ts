import { createSecretKey, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { get, IncomingMessage } from 'node:http';
import type { RedisClient } from '@bhatti/tasks';
import { connectRedis, createTaskQueue, TaskJobData, type TaskQueue } from '@bhatti/tasks';
import { afterAll, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import * as z from 'zod';
import { startRedis, type TestRedis } from '../../../test/support/redis.ts';
import { Sessions } from '../page/session.ts';
import { type Answer, queuePull, startTestApi, type TestApi } from './support/api.ts';
import { putImage } from './support/image.ts';

let redis: TestRedis;
let api: TestApi;
let connection: RedisClient;
let queue: TaskQueue;
beforeAll(async () => {
  redis = await startRedis();
  api = await startTestApi(redis.url);
  connection = connectRedis(redis.url, { use: 'worker' });
  queue = createTaskQueue(connection);
});
beforeEach(() => queue.obliterate({ force: true }));
afterAll(async () => {
  await queue.close();
  connection.disconnect();
  await api.close();
  await redis.stop();
});

const formType = { 'content-type': 'application/x-www-form-urlencoded' };

function post(path: string, fields: Record<string, string>, headers: Record<string, string> = {}): Promise<Answer> {
  const raw = new URLSearchParams(fields).toString();
  return api.sendTcp('POST', path, { raw, headers: { ...formType, ...headers } });
}

/** The cookie of a new session, as the browser would send it. */
async function logIn(): Promise<string> {
  const answer = await post('/login', { token: api.token });
  expect(answer.status).toBe(303);
  return String(answer.headers['set-cookie']).split(';', 1)[0] ?? '';
}

async function formTokenFor(cookie: string): Promise<string> {
  const { text } = await api.sendTcp('GET', '/', { headers: { cookie } });
  return /name="form_token" value="([^"]+)"/.exec(text)?.[1] ?? '';
}

describe('logging in', () => {
  test.each([
    '/',
    '/ui/tasks',
    '/ui/images',
    '/ui/events',
    '/ui/tasks/tsk_aaaaaaaaaaaa',
    '/admin/queues',
    '/admin/queues/api/queues',
  ])('%s leads to the log-in', async (path) => {
    for (const cookie of ['', 'bhatti_session=', 'bhatti_session=AAAA', `bhatti_session=${'A'.repeat(200)}`]) {
      const answer = await api.sendTcp('GET', path, { headers: { cookie } });
      expect([answer.status, answer.headers.location]).toEqual([303, '/login']);
    }
  });

  test('a wrong token is told, and gives no cookie', async () => {
    for (const token of ['', 'wrong', `bht_${'a'.repeat(40)}`]) {
      const answer = await post('/login', { token });
      expect(answer.status).toBe(401);
      expect(answer.text).toContain('The token is not valid');
      expect(answer.headers['set-cookie']).toBeUndefined();
    }
  });

  test('the cookie is for this site and no script, and does not show the token', async () => {
    const answer = await post('/login', { token: api.token }, { 'x-forwarded-proto': 'https' });
    const cookie = String(answer.headers['set-cookie']);
    expect(cookie).toMatch(/; HttpOnly; SameSite=Strict; Max-Age=43200; Secure$/);
    const value = cookie.split(/[=;]/)[1] ?? '';
    for (const form of [value, Buffer.from(value, 'base64url').toString('latin1')])
      expect(form).not.toContain(api.token);
    expect(api.log()).not.toContain(api.token);
    expect(api.log()).not.toContain(value);
  });

  test('a changed cookie is none', async () => {
    const cookie = await logIn();
    expect((await api.sendTcp('GET', '/', { headers: { cookie } })).status).toBe(200);
    const changed = cookie.slice(0, -3) + (cookie.endsWith('AAA') ? 'BBB' : 'AAA');
    expect((await api.sendTcp('GET', '/', { headers: { cookie: changed } })).status).toBe(303);
  });

  test('a cookie is none after twelve hours, whatever the browser keeps', async () => {
    const sessions = new Sessions(createSecretKey(randomBytes(32)));
    const cookie = sessions.begin('bht_token', { headers: {} }).split(';', 1)[0] ?? '';
    const shown = async () => {
      let authorization: string | undefined;
      await sessions.callerOf({ headers: { cookie } }, async ({ headers }) => {
        authorization = headers.authorization;
        return { owner: 'ann', admin: false };
      });
      return authorization;
    };
    const now = jest.spyOn(Date, 'now');
    try {
      const began = Date.now();
      now.mockReturnValue(began + 12 * 3600_000 - 60_000);
      expect(await shown()).toBe('Bearer bht_token');
      now.mockReturnValue(began + 12 * 3600_000 + 1);
      expect(await shown()).toBeUndefined();
    } finally {
      now.mockRestore();
    }
  });

  test('the cookie opens no route of the API', async () => {
    const cookie = await logIn();
    expect((await api.sendTcp('GET', '/images', { headers: { cookie } })).status).toBe(401);
    expect((await api.sendTcp('POST', '/images/pull', { headers: { cookie }, body: { ref: 'alpine' } })).status).toBe(
      401,
    );
  });

  test('logging out ends it', async () => {
    const cookie = await logIn();
    const answer = await post('/logout', { form_token: await formTokenFor(cookie) }, { cookie });
    expect([answer.status, answer.headers.location]).toEqual([303, '/login']);
    expect(String(answer.headers['set-cookie'])).toContain('Max-Age=0');
  });

  test('the unix socket needs none', async () => {
    const answer = await api.send('GET', '/');
    expect(answer.status).toBe(200);
    expect(answer.text).not.toContain('Log out');
  });
});

describe('forms', () => {
  const otherSites: readonly Record<string, string>[] = [
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
    { origin: 'https://evil.example' },
    { origin: 'null' },
  ];

  test.each(otherSites)('a page elsewhere (%j) can do nothing', async (headers) => {
    const cookie = await logIn();
    const formToken = await formTokenFor(cookie);
    const id = await queuePull(api.send, { ref: 'alpine' });
    expect((await post('/login', { token: api.token }, headers)).status).toBe(403);
    const more = { ...headers, cookie };
    expect((await post('/ui/pull', { ref: 'alpine:2', form_token: formToken }, more)).status).toBe(403);
    expect((await post(`/ui/tasks/${id}/cancel`, { form_token: formToken }, more)).status).toBe(403);
    const pause = await api.sendTcp('PUT', '/admin/queues/api/queues/images/pause', { headers: more });
    expect(pause.status).toBe(403);
    expect(await queue.isPaused()).toBe(false);
    expect(await queue.count()).toBe(1);
  });

  test('a form without the token of its session does nothing, on the unix socket neither', async () => {
    const cookie = await logIn();
    const ofAnother = await formTokenFor(await logIn());
    expect(ofAnother).toHaveLength((await formTokenFor(cookie)).length);
    for (const formToken of ['', 'wrong', ofAnother]) {
      expect((await post('/ui/pull', { ref: 'alpine', form_token: formToken }, { cookie })).status).toBe(403);
    }
    const raw = 'ref=alpine';
    expect((await api.send('POST', '/ui/pull', { raw, headers: formType })).status).toBe(403);
    expect(await queue.count()).toBe(0);
  });

  test('pull and cancel', async () => {
    const cookie = await logIn();
    const formToken = await formTokenFor(cookie);
    const fields = { ref: 'alpine:3.20', name: 'mine', platform: '', size: '1GB', auth: '', force: 'true' };
    const pulled = await post('/ui/pull', { ...fields, form_token: formToken }, { cookie });
    expect(pulled.status).toBe(303);
    const [job] = await queue.getJobs(['prioritized']);
    expect(job?.data).toMatchObject({ requested: 'alpine:3.20', name: 'mine', sizeBytes: 1_000_001_536, force: true });
    expect(pulled.headers.location).toBe(`/ui/tasks/${job?.id}`);

    const cancelled = await post(`/ui/tasks/${job?.id}/cancel`, { form_token: formToken }, { cookie });
    expect([cancelled.status, cancelled.headers.location]).toEqual([303, '/']);
    expect((await api.send('GET', `/ui/tasks/${job?.id}`)).text).toContain('cancelled');
    // What has ended cannot be cancelled again: the page just shows it.
    expect((await post(`/ui/tasks/${job?.id}/cancel`, { form_token: formToken }, { cookie })).status).toBe(303);
  });

  test('pulling again asks for the same', async () => {
    const body = { ref: 'alpine:3.20', name: 'mine', platform: 'arm64', size: '1GB', force: true };
    const first = await queuePull(api.send, body);
    await api.send('DELETE', `/tasks/${first}`);
    const cookie = await logIn();
    const { text } = await api.sendTcp('GET', `/ui/tasks/${first}`, { headers: { cookie } });
    const form = text.slice(text.indexOf('action="/ui/pull"'));
    const inputs = [...form.matchAll(/<input type="hidden" name="(\w+)" value="([^"]*)">/g)];
    const again = await post('/ui/pull', Object.fromEntries(inputs.map(([, name, value]) => [name, value])), {
      cookie,
    });
    const second = z.string().parse(again.headers.location).split('/').at(-1) ?? '';
    expect(second).not.toBe(first);
    const dataOf = async (id: string) => TaskJobData.parse((await queue.getJob(id))?.data);
    const { requestId: _, cancelRequested: __, ...one } = await dataOf(first);
    const { requestId: ___, ...other } = await dataOf(second);
    expect(other).toEqual(one);
    expect(other).toMatchObject({ platform: 'linux/arm64', sizeBytes: 1_000_001_536, force: true });
  });

  test('an image is deleted once that is confirmed, and only by the form', async () => {
    const cookie = await logIn();
    const formToken = await formTokenFor(cookie);
    await putImage(api.store, { name: 'unwanted', reference: 'docker.io/library/<unwanted>:1' });
    const address = '/ui/images/unwanted/delete';
    const { text } = await api.sendTcp('GET', address, { headers: { cookie } });
    expect(text).toContain('Delete unwanted?');
    expect(text).toContain('&lt;unwanted&gt;');
    expect((await post(address, {}, { cookie })).status).toBe(403);
    const elsewhere = { cookie, origin: 'https://evil.example' };
    expect((await post(address, { form_token: formToken }, elsewhere)).status).toBe(403);
    expect(await api.store.images.get('local', 'unwanted')).not.toBeNull();
    // A second click finds it gone, which is no failure.
    for (let click = 0; click < 2; click += 1) {
      const answer = await post(address, { form_token: formToken }, { cookie });
      expect([answer.status, answer.headers.location]).toEqual([303, '/']);
    }
    expect(await api.store.images.get('local', 'unwanted')).toBeNull();
    expect((await api.sendTcp('GET', address, { headers: { cookie } })).status).toBe(404);
    expect((await api.sendTcp('GET', address)).headers.location).toBe('/login');
  });

  test('a reference that is none is told, and stays in its field', async () => {
    const cookie = await logIn();
    const ref = '<b>"Not A Reference"';
    const answer = await post('/ui/pull', { ref, form_token: await formTokenFor(cookie) }, { cookie });
    expect(answer.status).toBe(400);
    expect(answer.text).toContain('role="alert"');
    expect(answer.text).toContain('value="&lt;b&gt;&quot;Not A Reference&quot;"');
    expect(answer.text).not.toContain('<b>"Not');
  });
});

/** Listens to the events of the page, in a session: the text so far, and a wait for more. */
function listen(cookie: string) {
  let text = '';
  const request = get(`${api.url}/ui/events`, { headers: { cookie } });
  const answer = once(request, 'response').then(([response]) => {
    z.instanceof(IncomingMessage)
      .parse(response)
      .on('data', (data: Buffer) => {
        text += data.toString();
        request.emit('news');
      });
  });
  return {
    text: () => text,
    has: async (wanted: string) => {
      await answer;
      while (!text.includes(wanted)) await once(request, 'news');
    },
    close: () => request.destroy(),
  };
}

test('a page is told of changes, of those that its visitor may see', async () => {
  const { token } = await api.store.users.create('carol', 'user');
  const carol = listen(String((await post('/login', { token })).headers['set-cookie']).split(';', 1)[0] ?? '');
  const admin = listen(await logIn());
  await Promise.all([carol.has('retry:'), admin.has('retry:')]);
  await queuePull(api.send, { ref: 'others:1' });
  await admin.has('event: changed');
  expect(carol.text()).not.toContain('changed');
  const own = await api.sendTcp('POST', '/images/pull', {
    body: { ref: 'own:1' },
    headers: { authorization: `Bearer ${token}` },
  });
  expect(own.status).toBe(202);
  await carol.has('event: changed');
  carol.close();
  admin.close();
});

test('an admin sees whose an image is, and deletes it; others are not offered to delete what is shared', async () => {
  const { token } = await api.store.users.create('dora', 'user');
  await putImage(api.store, { name: 'twice' });
  await putImage(api.store, { name: 'twice' }, 'dora');
  await putImage(api.store, { name: 'for-all', shared: true });
  const cookie = String((await post('/login', { token })).headers['set-cookie']).split(';', 1)[0] ?? '';
  const doras = (await api.sendTcp('GET', '/ui/images', { headers: { cookie } })).text;
  expect(doras).toContain('aria-label="Delete twice"');
  expect(doras).toContain('for-all <span class="hint">of local</span>');
  expect(doras).not.toContain('Delete for-all');
  const session = await logIn();
  const all = (await api.sendTcp('GET', '/ui/images', { headers: { cookie: session } })).text;
  expect(all).toContain('href="/ui/images/twice/delete?owner=dora" aria-label="Delete twice of dora"');
  const form = { form_token: await formTokenFor(session) };
  expect((await post('/ui/images/twice/delete?owner=dora', form, { cookie: session })).status).toBe(303);
  expect(await api.store.images.get('dora', 'twice')).toBeNull();
  expect(await api.store.images.get('local', 'twice')).not.toBeNull();
  for (const name of ['twice', 'for-all']) await api.store.images.delete('local', name);
});

test('more tasks than the page shows are said to be there', async () => {
  for (let i = 0; i < 20; i += 1) await queuePull(api.send, { ref: `many:${i}` });
  expect((await api.send('GET', '/ui/tasks')).text).not.toContain('bhatti task list');
  await queuePull(api.send, { ref: 'many:more' });
  const { text } = await api.send('GET', '/ui/tasks');
  expect(text.match(/data-key="tsk_/g)).toHaveLength(20);
  expect(text).toContain('The latest 20. <code>bhatti task list</code> shows all.');
});

test('images and tasks are shown, with what clients wrote escaped', async () => {
  await putImage(api.store, {
    name: 'shown',
    reference: 'docker.io/library/shown:1',
    warnings: ['<script>w</script>'],
  });
  await putImage(api.store, { name: 'of-another' }, 'somebody-else');
  const id = await queuePull(api.send, { ref: 'alpine:3.20' });
  const job = await queue.getJob(id);
  await job?.log('2026-01-02 attempt 1 of 3 <b>');
  const home = await api.send('GET', '/');
  expect(home.text).toContain('docker.io/library/shown:1');
  expect(home.text).toContain('alpine:3.20');
  expect(home.text).toContain('of-another');
  expect(home.text).not.toContain('<script>w');
  const page = await api.send('GET', `/ui/tasks/${id}`);
  expect(page.text).toContain('attempt 1 of 3 &lt;b&gt;');
  expect((await api.send('GET', '/ui/tasks/tsk_aaaaaaaaaaaa')).status).toBe(404);
});

test('pages forbid scripts and styles that are not their files, and framing', async () => {
  for (const path of ['/', '/login', '/ui/tasks/none']) {
    const { headers, text } = await api.send('GET', path);
    const policy = String(headers['content-security-policy']);
    expect(policy).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self'; /);
    expect(policy).toContain("frame-ancestors 'none'");
    expect(text).not.toMatch(/<script(?! src=)|<style|\sstyle=|\son\w+=/);
  }
  for (const file of ['style.css', 'page.js', 'icon.svg']) {
    expect((await api.sendTcp('GET', `/ui/assets/${file}`)).status).toBe(200);
  }
});

describe('the queue board', () => {
  test('shows tasks by what they are about, without credentials', async () => {
    await queuePull(api.send, { ref: 'ghcr.io/org/secret:1', auth: 'robot:hunter2' });
    expect((await api.send('GET', '/admin/queues')).text).toContain('bhatti images');
    const { text } = await api.send('GET', '/admin/queues/api/queues?activeQueue=images&status=prioritized&page=1');
    expect(text).toContain('pull ghcr.io/org/secret:1 as secret-1');
    expect(text).toContain('[sealed]');
    expect(text).not.toContain('v1.');
  });

  test('pauses and resumes, by the token or the session', async () => {
    const headers = { authorization: `Bearer ${api.token}` };
    expect((await api.sendTcp('PUT', '/admin/queues/api/queues/images/pause', { headers })).status).toBe(200);
    expect(await queue.isPaused()).toBe(true);
    const cookie = await logIn();
    const resume = await api.sendTcp('PUT', '/admin/queues/api/queues/images/resume', {
      headers: { cookie, 'sec-fetch-site': 'same-origin' },
    });
    expect(resume.status).toBe(200);
    expect(await queue.isPaused()).toBe(false);
  });
});

test('without Redis images are shown, and that tasks cannot be', async () => {
  await putImage(api.store, { name: 'still-here' });
  await redis.kill();
  const home = await api.send('GET', '/');
  expect(home.status).toBe(200);
  expect(home.text).toContain('still-here');
  expect(home.text).toContain('The task queue does not answer');
  const board = await api.send('GET', '/admin/queues');
  expect([200, 503]).toContain(board.status);
  await redis.start();
  while ((await api.send('GET', '/ui/tasks')).text.includes('does not answer')) await queue.count().catch(() => {});
});
