/** What programs read: `--json` of every command, on a real stack, checked against the OpenAPI document where that has a schema. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Agent } from 'undici';
import * as z from 'zod';
import { type Conforms, documented } from '../apps/api/test/support/conformance.ts';
import { DocumentedWorld } from './support/documented-world.ts';

let world: DocumentedWorld;
let conforms: Conforms;
beforeAll(async () => {
  world = await DocumentedWorld.open();
  await world.reset();
  // Starts the stack, and may say so on stderr.
  await world.piped({ command: 'bhatti image list --json 2> /dev/null', output: '' });
  const { url } = await world.seeServer();
  const dispatcher = new Agent();
  conforms = await documented(url, dispatcher);
  await dispatcher.close();
});
afterAll(() => world.close());

/** Resolves with the parsed output of a command: one value, or one for each line if it streams. */
async function run(command: string): Promise<unknown[]> {
  const output = await world.here({ command, output: '' });
  return output.split(/\n(?=\{)/).map((text) => JSON.parse(text));
}

function check(body: unknown, [method, path, status]: readonly [string, string, number]): void {
  conforms(method, path, { status, headers: {}, text: JSON.stringify(body), body });
}

test('is what the OpenAPI document says, one object a line where it streams', async () => {
  const [pulled] = await run('bhatti image pull python:3.12 --json');
  check(pulled, ['POST', '/images/pull', 202]);
  const { task_id: id } = z.object({ task_id: z.string() }).parse(pulled);
  const states = await run(`bhatti task watch ${id} --json`);
  for (const state of states) check(state, ['GET', `/tasks/${id}`, 200]);
  expect(states.at(-1)).toMatchObject({ status: 'completed' });
  const answers = [
    [`bhatti task show ${id}`, 'GET', `/tasks/${id}`, 200],
    ['bhatti image inspect python-3.12', 'GET', '/images/python-3.12', 200],
    ['bhatti image share python-3.12', 'PUT', '/images/python-3.12/share', 200],
    ['bhatti image unshare python-3.12', 'DELETE', '/images/python-3.12/share', 200],
    ['bhatti image import --tar image.tar --name app', 'POST', '/images/import', 202],
    ['bhatti admin status', 'GET', '/admin/status', 200],
    ['bhatti image prune --dry-run', 'POST', '/images/prune', 200],
  ] as const;
  for (const [command, ...route] of answers) check((await run(`${command} --json`))[0], route);
  // The CLI reads lists to the end, so it has no `next`.
  const lists = [
    ['image', 'images'],
    ['task', 'tasks'],
  ] as const;
  for (const [group, items] of lists) {
    const list = z
      .looseObject({ [items]: z.array(z.unknown()).min(1) })
      .parse((await run(`bhatti ${group} list --json`))[0]);
    check({ ...list, next: null }, ['GET', `/${items}`, 200]);
  }
  // The check is strict: a missing field fails it.
  expect(() => check({ images: [{ name: 'a' }], next: null }, ['GET', '/images', 200])).toThrow();
});

test('has fields of its own where the API has no say', async () => {
  expect(await run('bhatti image pull python:3.12 --json')).toEqual([
    { task_id: null, status: 'exists', name: 'python-3.12', digest: expect.stringMatching(/^sha256:/) },
  ]);
  expect(await run('bhatti version --json')).toEqual([
    { version: expect.any(String), server: { version: expect.any(String), url: expect.any(String) } },
  ]);
  const user = { name: 'bob', role: 'user' };
  const made = { ...user, token: expect.stringMatching(/^bht_\w{40}$/) };
  expect(await run('bhatti user create bob --json')).toEqual([made]);
  expect(await run('bhatti user rotate-key bob --json')).toEqual([made]);
  expect(await run('bhatti user list --json')).toEqual([{ users: [{ ...user, created_at: expect.any(String) }] }]);
  expect(await run('bhatti user delete bob --json')).toEqual([{ name: 'bob', deleted: true, images_left: 0 }]);
  expect(await run('bhatti image delete -y python-3.12 --json')).toEqual([{ name: 'python-3.12', deleted: true }]);
  expect(await run('bhatti serve status --json')).toEqual([
    expect.objectContaining({
      state: 'running',
      pid: expect.any(Number),
      url: expect.any(String),
      socket: expect.any(String),
    }),
  ]);
  expect(await run('bhatti serve stop --json')).toEqual([{ state: 'stopped', data_dir: expect.any(String) }]);
});
