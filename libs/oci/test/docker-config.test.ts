import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { bundled } from '../../../test/support/bundled.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { dockerConfigCredentials, parseReference } from '../index.ts';
import { failure, useFixture } from './support/fixture.ts';

const fixture = useFixture();
const base64 = (text: string): string => Buffer.from(text).toString('base64');

async function configFile(content: unknown): Promise<string> {
  const path = join(await fixture.directory(), 'config.json');
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

describe('auths', () => {
  const config = {
    auths: {
      'https://index.docker.io/v1/': { auth: base64('hub:pw:with:colons') },
      'ghcr.io': { username: 'octo', password: 'cat' },
      'https://quay.io/v2/': { auth: base64('quay:pw') },
      'quay.io/team/app': { auth: base64('app:pw') },
      '127.0.0.1:5000': { auth: `${base64('local:pw')}` },
      'azure.example': { auth: base64('00000000-0000:'), identitytoken: 'refresh' },
      'empty.example': {},
    },
  };
  test.each([
    ['python', { username: 'hub', password: 'pw:with:colons' }],
    ['docker.io/team/app', { username: 'hub', password: 'pw:with:colons' }],
    ['ghcr.io/a/b', { username: 'octo', password: 'cat' }],
    ['quay.io/other/app', { username: 'quay', password: 'pw' }],
    ['quay.io/team/app:1', { username: 'app', password: 'pw' }],
    ['quay.io/team/app/inner', { username: 'app', password: 'pw' }],
    ['quay.io/team/application', { username: 'quay', password: 'pw' }],
    ['127.0.0.1:5000/a', { username: 'local', password: 'pw' }],
    ['127.0.0.1:5001/a', undefined],
    ['azure.example/a', { token: 'refresh' }],
    ['empty.example/a', undefined],
    ['example.com/a', undefined],
  ])('%s', async (reference, expected) => {
    const source = dockerConfigCredentials(await configFile(config));
    expect(await source(parseReference(reference))).toEqual(expected);
  });

  test('a login takes effect at once, and no file is no fault', async () => {
    const path = join(await fixture.directory(), 'config.json');
    const source = dockerConfigCredentials(path);
    expect(await source(parseReference('ghcr.io/a/b'))).toBeUndefined();
    await writeFile(path, JSON.stringify(config));
    expect(await source(parseReference('ghcr.io/a/b'))).toEqual({ username: 'octo', password: 'cat' });
  });

  test('a file that is broken is told by its path, not by its content', async () => {
    const path = await configFile('{"auths": {"ghcr.io": {"auth": s3cret}}}');
    const error = await failure(dockerConfigCredentials(path)(parseReference('ghcr.io/a/b')));
    expect(error).toMatchObject({ code: 'invalid_request' });
    expect(error.message).toContain(path);
    expect(`${error.message} ${String(error.cause)}`).not.toContain('s3cret');
  });
});

describe('credential helpers', () => {
  /** A helper named `test` in a folder of its own, which is its only PATH beside the system's. */
  async function helper(script: string, config: object = { credsStore: 'test' }, helperTimeoutMs = 20_000) {
    const directory = await fixture.directory();
    const log = join(directory, 'log');
    const text = `#!/bin/sh\necho "$@ $(cat)" >> '${log}'\n${script}\n`;
    await writeFile(join(directory, 'docker-credential-test'), text, { mode: 0o755 });
    const environment = { PATH: `${directory}:/usr/bin:/bin` };
    const source = dockerConfigCredentials(await configFile(config), { helperTimeoutMs, environment });
    const ask = (reference: string) => source(parseReference(reference));
    return { ask, log: () => readFile(log, 'utf8'), directory };
  }
  const answer = (Username: string, Secret: string): string => `echo '${JSON.stringify({ Username, Secret })}'`;

  test('are asked by the name of the server, once for a while', async () => {
    const { ask, log } = await helper(answer('alice', 'pw'));
    const all = await Promise.all([ask('ghcr.io/a/b'), ask('ghcr.io/a/c')]);
    expect(all).toEqual([
      { username: 'alice', password: 'pw' },
      { username: 'alice', password: 'pw' },
    ]);
    expect(await ask('python')).toEqual({ username: 'alice', password: 'pw' });
    expect(await log()).toBe('get ghcr.io\nget https://index.docker.io/v1/\n');
  });

  test('for one registry come before the store, and what they do not have may stand in the file', async () => {
    const config = {
      credsStore: 'missing',
      credHelpers: { 'ghcr.io': 'test' },
      auths: { 'ghcr.io': { auth: base64('file:pw') } },
    };
    const { ask } = await helper('echo "credentials not found in native keychain"; exit 1', config);
    expect(await ask('ghcr.io/a/b')).toEqual({ username: 'file', password: 'pw' });
    expect(await failure(ask('quay.io/a/b'))).toMatchObject({
      code: 'invalid_request',
      message: 'the credential helper docker-credential-missing is not installed, or not on the PATH',
    });
  });

  test('may give an identity token', async () => {
    const { ask } = await helper(answer('<token>', 'refresh'));
    expect(await ask('ghcr.io/a/b')).toEqual({ token: 'refresh' });
  });

  test('that answers with nothing has no credentials', async () => {
    const { ask } = await helper(answer('', ''), {
      credsStore: 'test',
      auths: { 'ghcr.io': { auth: base64('file:pw') } },
    });
    expect(await ask('quay.io/a/b')).toBeUndefined();
    expect(await ask('ghcr.io/a/b')).toEqual({ username: 'file', password: 'pw' });
  });

  test.each([
    ['fails', 'echo boom; exit 3', 'failed with status 3'],
    ['says nothing that can be read', 'echo s3cret', 'gave no valid answer'],
  ])('one that %s', async (_, script, reason) => {
    const { ask } = await helper(script);
    const error = await failure(ask('ghcr.io/a/b'));
    expect(error.message).toContain(reason);
    expect(error.message).not.toContain('s3cret');
  });

  test('one that hangs is ended, with what it has started', async () => {
    // One that a busy machine has not let come to its wait by then is given twice the time.
    async function hang(limit: number): Promise<string> {
      const { ask, log, directory } = await helper('sleep 1000 & echo "$!" >> "$0.pid"; wait', undefined, limit);
      expect((await failure(ask('ghcr.io/a/b'))).message).toContain(`did not answer within ${limit / 1000} s`);
      const started = await readFile(join(directory, 'docker-credential-test.pid'), 'utf8').catch(() => '');
      if (started === '') return hang(2 * limit);
      expect(await log()).toContain('get ghcr.io');
      return started.trim();
    }
    const started = await hang(500);
    // Gone, or waiting for its new parent to notice.
    const state = async () => readFile(`/proc/${started}/stat`, 'utf8').catch(() => '1 (gone) Z');
    await eventually(async () => /\) [ZX]/.test(await state()));
  });

  test('that a process out of open files cannot run is its shortage, not a wrong setting, and does not end it', async () => {
    const { directory } = await helper(answer('alice', 'pw'));
    await writeFile(join(directory, 'config.json'), '{"credsStore": "test"}');
    const script = `
      import { closeSync, openSync } from 'node:fs';
      import { dockerConfigCredentials, parseReference } from ${JSON.stringify(await bundled('libs/oci/index.ts', directory))};
      const environment = { PATH: '${directory}' };
      const ask = dockerConfigCredentials('${directory}/config.json', { environment });
      const held = [];
      const tell = ({ code, cause }) => console.log(code, cause?.code);
      const holdAll = () => { try { for (;;) held.push(openSync('/dev/null')); } catch {} };
      // Once all is loaded, Node closes no files of its own any more.
      await ask(parseReference('quay.io/loads/all'));
      holdAll();
      await ask(parseReference('ghcr.io/a/b')).catch(tell);
      holdAll();
      // One for the file, which is closed again; a process needs more.
      closeSync(held.pop());
      await ask(parseReference('ghcr.io/a/b')).catch(tell);
      for (const descriptor of held) closeSync(descriptor);`;
    const command = 'ulimit -n 200; exec "$0" --input-type=module -e "$1"';
    const { stdout } = await promisify(execFile)('/bin/sh', ['-c', command, process.execPath, script]);
    expect(stdout).toBe('internal EMFILE\ninternal EMFILE\n');
  });

  test('a name that is a path or a command is not run', async () => {
    for (const name of ['../evil', 'a b', '-x', 'a;b']) {
      const { ask } = await helper('', { credsStore: name });
      expect(await failure(ask('ghcr.io/a/b'))).toMatchObject({ code: 'invalid_request' });
    }
  });
});
