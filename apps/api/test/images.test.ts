import { rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import type * as z from 'zod';
import { ImageCatalog } from '../../../libs/store/image-catalog.ts';
import { ImageList } from '../api-schema.ts';
import { startTestStack, type TestStack } from './support/api.ts';
import { putImage, recordDigest, untilRemoved } from './support/image.ts';

describe('images', () => {
  let api: TestStack;
  beforeAll(async () => {
    api = await startTestStack();
  });
  afterAll(() => api.close());

  test('are listed by name, each with its file', async () => {
    expect((await api.send('GET', '/images')).body).toEqual({ images: [], next: null });
    const b = await putImage(api.store, { name: 'b', warnings: ['no /bin/sh'] });
    await putImage(api.store, { name: 'a' });
    const answer = await api.send('GET', '/images');
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ images: [{ name: 'a' }, { name: 'b' }] });
    expect((await api.send('GET', '/images/b')).body).toEqual({
      name: 'b',
      owner: 'local',
      shared: false,
      ref: 'docker.io/library/alpine:3.20',
      digest: b.manifestDigest,
      platform: 'linux/amd64',
      size_bytes: b.sizeBytes,
      disk_bytes: 4096,
      created_at: '2026-01-02T03:04:05.000Z',
      path: api.store.rootfs.path(b.rootfsKey),
      warnings: ['no /bin/sh'],
      config: { env: ['PATH=/bin'], cmd: ['/bin/sh'] },
    });
  });

  test('come in pages, each once', async () => {
    const names = ['p-1', 'p-2', 'p-3', 'p-4', 'p-5'];
    for (const name of names) await putImage(api.store, { name });
    const seen: string[] = [];
    let pages = 0;
    for (let cursor: string | null = ''; cursor !== null; pages += 1) {
      const answer = await api.send('GET', `/images?limit=2${cursor && `&cursor=${cursor}`}`);
      const page = ImageList.parse(answer.body);
      expect(page.images.length).toBeLessThanOrEqual(2);
      seen.push(...page.images.map(({ name }) => name));
      cursor = page.next;
    }
    expect(seen).toEqual([...new Set(seen)].sort());
    expect(seen).toEqual(expect.arrayContaining(names));
    expect(pages).toBe(Math.ceil(seen.length / 2));
    for (const query of ['limit=0', 'limit=1001', 'limit=x', 'limit=1&limit=2', 'cursor=!', 'cursor=Li4v']) {
      expect(await api.send('GET', `/images?${query}`)).toMatchObject({
        status: 400,
        body: { code: 'invalid_request' },
      });
    }
    expect((await api.send('GET', `/images?cursor=${'a'.repeat(513)}`)).body).toMatchObject({
      error: 'query parameter "cursor" must be the "next" of an earlier answer',
    });
  });

  test('that are large come in smaller pages: the API need not hold a thousand of them', async () => {
    const large = { config: { env: [`LARGE=${'x'.repeat(2 ** 21)}`] } };
    for (const name of ['l-1', 'l-2', 'l-3', 'l-4', 'l-5']) await putImage(api.store, { name, ...large });
    const start = Buffer.from('l-/x').toString('base64url');
    const first = ImageList.parse((await api.send('GET', `/images?cursor=${start}`)).body);
    expect(first.images.map(({ name }) => name)).toEqual(['l-1', 'l-2']);
    const second = ImageList.parse((await api.send('GET', `/images?cursor=${first.next}`)).body);
    expect(second.images.map(({ name }) => name)).toEqual(['l-3', 'l-4']);
    for (const name of ['l-1', 'l-2', 'l-3', 'l-4', 'l-5']) await api.store.images.delete('local', name);
  });

  test('of several owners come in pages, too: by name, then by owner', async () => {
    for (const owner of ['zoe', 'ann', 'max']) {
      for (const name of ['q-same', `q-${owner}`]) await putImage(api.store, { name }, owner);
    }
    const seen: string[] = [];
    for (let cursor: string | null = Buffer.from('q/x').toString('base64url'); cursor !== null; ) {
      const page: z.output<typeof ImageList> = ImageList.parse(
        (await api.send('GET', `/images?limit=1&cursor=${cursor}`)).body,
      );
      seen.push(...page.images.map(({ name, owner }) => `${name} ${owner}`));
      cursor = page.next;
    }
    const wanted = ['q-ann ann', 'q-max max', 'q-same ann', 'q-same max', 'q-same zoe', 'q-zoe zoe'];
    expect(seen.slice(0, wanted.length)).toEqual(wanted);
  });

  test('are told by their names where they are called by a reference', async () => {
    const error = async (name: string) => (await api.send('GET', `/images/${encodeURIComponent(name)}`)).text;
    expect(await error('ghcr.io/org/app:1.2')).toContain('images go by their names here, app-1.2 where');
    expect(await error('../app')).not.toContain('go by their names');
    expect(await error('nothere')).not.toContain('go by their names');
  });

  test('are read as far as the page goes, and one more', async () => {
    for (const name of ['0-a', '0-b', '0-c']) await putImage(api.store, { name });
    const { rootfsKey } = await putImage(api.store, { name: '0-d' }, 'local', { content: 'unreadable' });
    const unreadable = join(api.directory, 'rootfs', 'sha256', rootfsKey);
    await rm(unreadable, { recursive: true });
    // A link to itself cannot be looked at.
    await symlink(unreadable, unreadable);
    const list = async (limit: number) => (await api.send('GET', `/images?limit=${limit}`)).status;
    expect([await list(2), await list(3)]).toEqual([200, 500]);
    await rm(unreadable);
  });

  test('have an ETag that tells whether anything changed', async () => {
    await putImage(api.store, { name: 'tagged' });
    const first = await api.send('GET', '/images/tagged');
    const etag = String(first.headers.etag);
    expect(etag).toMatch(/^"[^"]+"$/);
    const headers = { 'if-none-match': `"other", W/${etag}` };
    expect(await api.send('GET', '/images/tagged', { headers })).toMatchObject({ status: 304, text: '' });
    await putImage(api.store, { name: 'tagged', warnings: ['another'] });
    const changed = await api.send('GET', '/images/tagged', { headers });
    expect(changed.status).toBe(200);
    expect(changed.headers.etag).not.toBe(etag);
  });

  test('are shown, fetched and deleted with If-Match only while they are the same', async () => {
    await putImage(api.store, { name: 'matched' });
    const { headers } = await api.send('GET', '/images/matched');
    const etag = String(headers.etag);
    const image = await putImage(api.store, { name: 'matched', warnings: ['another'] });
    const changed = { status: 412, body: { code: 'precondition_failed' } };
    for (const tags of [etag, `"other", ${etag}`]) {
      for (const method of ['GET', 'DELETE'] as const) {
        expect(await api.send(method, '/images/matched', { headers: { 'if-match': tags } })).toMatchObject(changed);
      }
    }
    const file = String((await api.send('HEAD', '/images/matched/rootfs')).headers.etag);
    const rootfs = (tag: string) => api.send('HEAD', '/images/matched/rootfs', { headers: { 'if-match': tag } });
    expect([(await rootfs(file)).status, (await rootfs('"other"')).status]).toEqual([200, 412]);
    const now = String((await api.send('GET', '/images/matched', { headers: { 'if-match': '*' } })).headers.etag);
    const weak = await api.send('DELETE', '/images/matched', { headers: { 'if-match': `W/${now}` } });
    expect(weak.status).toBe(412);
    expect((await api.send('DELETE', '/images/matched', { headers: { 'if-match': now } })).status).toBe(204);
    await untilRemoved(api.store, image);
  });

  test('are shared, and that is taken back, with If-Match only while they are the same', async () => {
    await putImage(api.store, { name: 'wanted' });
    const tag = async () => String((await api.send('GET', '/images/wanted')).headers.etag);
    const share = (method: 'PUT' | 'DELETE', ifMatch: string) =>
      api.send(method, '/images/wanted/share', { headers: { 'if-match': ifMatch } });
    const changed = { status: 412, body: { code: 'precondition_failed' } };
    const before = await tag();
    await putImage(api.store, { name: 'wanted', warnings: ['another'] });
    const first = await tag();
    for (const old of [before, `W/${first}`]) expect(await share('PUT', old)).toMatchObject(changed);
    expect((await api.send('GET', '/images/wanted')).body).toMatchObject({ shared: false });
    expect(await share('PUT', first)).toMatchObject({ status: 200, body: { shared: true } });
    expect(await share('DELETE', first)).toMatchObject(changed);
    expect((await api.send('GET', '/images/wanted')).body).toMatchObject({ shared: true });
    expect(await share('DELETE', `"other", ${await tag()}`)).toMatchObject({ status: 200, body: { shared: false } });
    expect(await share('PUT', '*')).toMatchObject({ status: 200, body: { shared: true } });
  });

  test('that are pulled anew just as they are shared are shared as what they are then', async () => {
    await putImage(api.store, { name: 'busy' });
    const warnings = ['anew'];
    jest.spyOn(ImageCatalog.prototype, 'replace').mockImplementationOnce(async () => {
      await putImage(api.store, { name: 'busy', warnings });
      return false;
    });
    const shared = await api.send('PUT', '/images/busy/share');
    expect(shared).toMatchObject({ status: 200, body: { shared: true, warnings } });
    expect(await api.store.images.get('local', 'busy')).toMatchObject({ shared: true, warnings });
  });

  test('are the same for If-Match when their SHA-256 is recorded, and another body for If-None-Match', async () => {
    const image = await putImage(api.store, { name: 'digested' });
    const etag = String((await api.send('GET', '/images/digested')).headers.etag);
    await recordDigest(api.store, image.rootfsKey, 'd'.repeat(64));
    const again = await api.send('GET', '/images/digested', { headers: { 'if-none-match': etag, 'if-match': etag } });
    expect(again).toMatchObject({ status: 200, body: { sha256: 'd'.repeat(64) } });
    expect(again.headers.etag).not.toBe(etag);
    const share = await api.send('PUT', '/images/digested/share', { headers: { 'if-match': etag } });
    expect(share.status).toBe(200);
    expect((await api.send('DELETE', '/images/digested/share')).status).toBe(200);
    expect((await api.send('DELETE', '/images/digested', { headers: { 'if-match': etag } })).status).toBe(204);
    await untilRemoved(api.store, image);
  });

  test('of another owner are an admin’s to see, and to delete only when saying whose', async () => {
    await putImage(api.store, { name: 'theirs' }, 'somebody');
    expect((await api.send('GET', '/images/theirs')).body).toMatchObject({ owner: 'somebody' });
    expect((await api.send('DELETE', '/images/theirs')).status).toBe(403);
    expect((await api.send('GET', '/images/theirs?owner=nobody')).body).toMatchObject({
      error: expect.stringMatching(/^no image "theirs" of "nobody";/),
    });
    expect(await api.store.images.get('somebody', 'theirs')).not.toBeNull();
  });

  test('are deleted once', async () => {
    const image = await putImage(api.store, { name: 'short-lived' });
    const answer = await api.send('DELETE', '/images/short-lived');
    expect(answer.status).toBe(204);
    expect(answer.text).toBe('');
    expect((await api.send('GET', '/images/short-lived')).status).toBe(404);
    expect((await api.send('DELETE', '/images/short-lived')).status).toBe(404);
    await untilRemoved(api.store, image);
  });

  test('an image may be called pull', async () => {
    const image = await putImage(api.store, { name: 'pull' });
    expect((await api.send('GET', '/images/pull')).body).toMatchObject({ name: 'pull' });
    expect((await api.send('DELETE', '/images/pull')).status).toBe(204);
    await untilRemoved(api.store, image);
  });

  test.each(['..%2F..%2Ftoken', '.hidden', '%00', 'a%2Fb', 'x'.repeat(300), '-a', '%20'])(
    'a name that cannot be one is not looked for: %s',
    async (name) => {
      expect(await api.send('GET', `/images/${name}`)).toMatchObject({ status: 404, body: { code: 'not_found' } });
      expect(await api.send('DELETE', `/images/${name}`)).toMatchObject({ status: 404 });
    },
  );
});
