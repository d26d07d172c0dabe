import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { familiarReference } from '../image/reference.ts';
import { formatReference, OciError, parseReference } from '../index.ts';

const SHA256 = `sha256:${'f'.repeat(64)}`;
const IMAGE_ID = '1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a';

function refusal(text: string): string {
  try {
    parseReference(text);
  } catch (error) {
    if (error instanceof OciError && error.code === 'invalid_reference') return error.message;
    throw error;
  }
  throw new Error(`${text} was accepted`);
}

describe('the published examples of the reference grammar', () => {
  test.each([
    'docker/docker',
    'library/debian',
    'debian',
    'docker.io/docker/docker',
    'docker.io/library/debian',
    'docker.io/debian',
    'index.docker.io/docker/docker',
    'index.docker.io/library/debian',
    'index.docker.io/debian',
    '127.0.0.1:5000/docker/docker',
    '127.0.0.1:5000/library/debian',
    '127.0.0.1:5000/debian',
    '192.168.0.1',
    '192.168.0.1:80',
    '192.168.0.1:8/debian',
    '192.168.0.2:25000/debian',
    'thisisthesongthatneverendsitgoesonandonandonthisisthesongthatnev',
    '[fc00::1]:5000/docker',
    '[fc00::1]:5000/docker/docker',
    '[fc00:1:2:3:4:5:6:7]:5000/library/debian',
    `docker.io/${IMAGE_ID}`,
    'Docker/docker',
    'DOCKER/docker',
    'docker-rules/docker',
    'docker---rules/docker',
    'doc/docker',
    'd/docker',
    'jess/t',
    'dock__er/docker',
    'sub-dom1.foo.com/bar/baz/quux:some-long-tag',
    'b.gcr.io/test.example.com/my-app:test.example.com',
    'xn--n3h.com/myimage:xn--n3h.com',
    `xn--7o8h.com/myimage:xn--7o8h.com@sha512:${'f'.repeat(128)}`,
    'lowercase:Uppercase',
    'foo_bar.com:8080',
    'foo/foo_bar.com:8080',
    '[2001:db8::]:5000/repo',
    '[2001:db8:1:2:3:4:5:6]/repo:tag',
    `${'a/'.repeat(127)}a:tag-puts-this-over-max`,
  ])('accepts %s', (text) => {
    expect(formatReference(parseReference(text))).toEqual(expect.any(String));
  });

  test.each([
    '',
    ':justtag',
    `@${SHA256}`,
    `repo@sha256:${'f'.repeat(34)}`,
    `validname@invaliddigest:${'f'.repeat(64)}`,
    `validname@sha256:g${'f'.repeat(63)}`,
    `validname@sha256:${'f'.repeat(63)}F`,
    `validname@sha256:${'../'.repeat(21)}f`,
    'Uppercase:tag',
    'test:5000/Uppercase/lowercase:tag',
    `${'a/'.repeat(128)}a:tag`,
    'aa/asdf$$^/aa',
    '[2001:db8::1]',
    '[2001:db8::1]:5000',
    '[2001:db8::1]:tag',
    '[fe80::1%eth0]:5000/repo',
    '[fe80::1%@invalidzone]:5000/repo',
    'https://github.com/docker/docker',
    'docker/Docker',
    '-docker',
    '-docker/docker',
    '-docker.io/docker/docker',
    'docker///docker',
    'docker.io/docker/Docker',
    'docker.io/docker///docker',
    '[fc00::1]',
    '[fc00::1]:5000',
    'fc00::1:5000/debian',
    '[2001:db8:3:4::192.0.2.33]:5000/debian',
    IMAGE_ID,
    'docker-/docker',
    '-docker-/docker',
    '____/____',
    '_docker/_docker',
    'dock..er/docker',
    'dock_.er/docker',
    'dock-.er/docker',
    'docker/',
    `${'this_is_not_a_valid_namespace_because_its_lenth_is_greater_than_255_'.repeat(4)}/docker`,
    'name:-foo',
    `name:${'t'.repeat(129)}`,
    'name:',
    'name@',
    '/name',
    '../name',
    'host.io/../name',
    'host.io:99999/name',
    'host.io:0/name',
    'name:tag with space',
    'name\u0000',
    '[::::]:5000/name',
  ])('refuses %j', (text) => {
    expect(refusal(text)).toMatch(/^invalid reference "/);
  });

  test.each([
    ['fooo/bar', 'docker.io', 'fooo/bar', 'fooo/bar'],
    ['index.docker.io/fooo/bar', 'docker.io', 'fooo/bar', 'fooo/bar'],
    ['ubuntu', 'docker.io', 'library/ubuntu', 'ubuntu'],
    ['library/ubuntu', 'docker.io', 'library/ubuntu', 'ubuntu'],
    ['docker.io/foo', 'docker.io', 'library/foo', 'foo'],
    ['library/foo/bar', 'docker.io', 'library/foo/bar', 'library/foo/bar'],
    ['127.0.0.1:8000/privatebase', '127.0.0.1:8000', 'privatebase', '127.0.0.1:8000/privatebase'],
    ['example.com/private/moonbase', 'example.com', 'private/moonbase', 'example.com/private/moonbase'],
    ['localhost/app', 'localhost', 'app', 'localhost/app'],
    ['Foo/bar', 'Foo', 'bar', 'Foo/bar'],
    ['test_com/foo', 'docker.io', 'test_com/foo', 'test_com/foo'],
    ['docker.io/a.b/c', 'docker.io', 'a.b/c', 'docker.io/a.b/c'],
    [`docker.io/${IMAGE_ID}`, 'docker.io', `library/${IMAGE_ID}`, `docker.io/library/${IMAGE_ID}`],
  ])('%s is at %s, repository %s, and called %s', (text, domain, path, familiar) => {
    const reference = parseReference(text);
    expect(reference).toEqual({ domain, path, tag: 'latest' });
    expect(formatReference(reference)).toBe(`${domain}/${path}:latest`);
    expect(familiarReference(reference)).toBe(`${familiar}:latest`);
  });
});

/** What the grammar's own examples are taken apart into; without a host it is Docker Hub, as Docker reads them. */
describe('the parts of the published examples', () => {
  const SHA512 = `sha512:${'f'.repeat(128)}`;
  const hub = 'docker.io';
  const examples: readonly [text: string, domain: string, path: string, tag?: string, digest?: string][] = [
    ['test_com', hub, 'library/test_com', 'latest'],
    ['test.com:tag', hub, 'library/test.com', 'tag'],
    ['test.com:5000', hub, 'library/test.com', '5000'],
    ['test.com/repo:tag', 'test.com', 'repo', 'tag'],
    ['test:5000/repo', 'test:5000', 'repo', 'latest'],
    ['test:5000/repo:tag', 'test:5000', 'repo', 'tag'],
    [`test:5000/repo@${SHA256}`, 'test:5000', 'repo', undefined, SHA256],
    [`test:5000/repo:tag@${SHA256}`, 'test:5000', 'repo', 'tag', SHA256],
    ['lowercase:Uppercase', hub, 'library/lowercase', 'Uppercase'],
    ['test.com:8000/foo:TAG5', 'test.com:8000', 'foo', 'TAG5'],
    ['sub-dom1.foo.com/bar/baz/quux', 'sub-dom1.foo.com', 'bar/baz/quux', 'latest'],
    ['b.gcr.io/test.example.com/my-app:test.example.com', 'b.gcr.io', 'test.example.com/my-app', 'test.example.com'],
    ['xn--n3h.com:18080/foo', 'xn--n3h.com:18080', 'foo', 'latest'],
    [`xn--7o8h.com/myimage:xn--7o8h.com@${SHA512}`, 'xn--7o8h.com', 'myimage', 'xn--7o8h.com', SHA512],
    ['foo_bar.com:8080', hub, 'library/foo_bar.com', '8080'],
    ['foo/foo_bar.com:8080', hub, 'foo/foo_bar.com', '8080'],
    ['192.168.1.1', hub, 'library/192.168.1.1', 'latest'],
    ['192.168.1.1:tag', hub, 'library/192.168.1.1', 'tag'],
    ['192.168.1.1/repo', '192.168.1.1', 'repo', 'latest'],
    ['192.168.1.1:5000/repo:5050', '192.168.1.1:5000', 'repo', '5050'],
    ['[2001:db8::1]/repo', '[2001:db8::1]', 'repo', 'latest'],
    ['[2001:db8::1]:5000/repo:tag', '[2001:db8::1]:5000', 'repo', 'tag'],
    [`[2001:db8::1]:5000/repo:tag@${SHA256}`, '[2001:db8::1]:5000', 'repo', 'tag', SHA256],
    ['[::1]:5000/repo', '[::1]:5000', 'repo', 'latest'],
    ['nonlibrary/ubuntu', hub, 'nonlibrary/ubuntu', 'latest'],
    ['other/library', hub, 'other/library', 'latest'],
    ['index.docker.io/library/ubuntu-12.04-base', hub, 'library/ubuntu-12.04-base', 'latest'],
    ['FOO/bar', 'FOO', 'bar', 'latest'],
    ['docker/migrator', hub, 'docker/migrator', 'latest'],
    // Image ids may be cut to fewer digits; these are names then.
    [IMAGE_ID.slice(1), hub, `library/${IMAGE_ID.slice(1)}`, 'latest'],
    [IMAGE_ID.slice(0, 5), hub, `library/${IMAGE_ID.slice(0, 5)}`, 'latest'],
  ];
  test.each(examples.map((example) => [example]))('%j', ([text, domain, path, tag, digest]) => {
    expect(parseReference(text)).toEqual({
      domain,
      path,
      ...(tag !== undefined && { tag }),
      ...(digest !== undefined && { digest }),
    });
  });
});

describe('tags and digests', () => {
  test('the tag is latest only when neither is given', () => {
    expect(parseReference('python:3.12').tag).toBe('3.12');
    expect(parseReference('python').tag).toBe('latest');
    expect(parseReference(`python@${SHA256}`)).toEqual({ domain: 'docker.io', path: 'library/python', digest: SHA256 });
  });

  test('both may stand together', () => {
    const text = `busybox:1.36@${SHA256}`;
    const reference = parseReference(text);
    expect(reference).toMatchObject({ tag: '1.36', digest: SHA256 });
    expect(formatReference(reference)).toBe(`docker.io/library/${text}`);
    expect(familiarReference(reference)).toBe(text);
  });
});

describe('refusals say why', () => {
  test.each([
    ['docker.io/docker/Docker', 'repository name (docker/Docker) must be lowercase; try docker/docker'],
    ['Uppercase:tag', 'must be lowercase; try library/uppercase'],
    ['https://ghcr.io/a/b', 'leave out the scheme'],
    [IMAGE_ID, 'name an image id'],
    [`repo@sha256:${'f'.repeat(34)}`, 'sha256 needs 64 hexadecimal characters, not 34'],
    [`repo@md5:${'f'.repeat(32)}`, 'the algorithm must be sha256 or sha512'],
    ['name:-foo', '"-foo" is not a tag'],
    ['host.io:99999/name', '99999 is not a port'],
    ['host_x.io/name', '"host_x.io" is not a registry host'],
    ['name here', 'a space'],
  ])('%s: %s', (text, reason) => {
    expect(refusal(text)).toContain(reason);
  });

  test.each([
    'ann:hun@ter2@ghcr.io/a/b',
    'https://ann:hunter2@ghcr.io/a/b:1',
    'hunter2@ghcr.io/a/b',
    'ann:hunter2@/ b',
  ])('credentials in %s are not repeated', (text) => {
    expect(refusal(text)).toContain('--auth user:token');
    expect(refusal(text)).not.toMatch(/ter2/);
  });
});

describe('properties', () => {
  const alphanumeric = fc.stringMatching(/^[a-z0-9]{1,8}$/);
  const component = fc
    .array(fc.tuple(alphanumeric, fc.constantFrom('.', '_', '__', '-', '---')), { minLength: 1, maxLength: 3 })
    .map((parts) =>
      parts.map(([word, separator], position) => (position === 0 ? word : `${separator}${word}`)).join(''),
    );
  const path = fc.array(component, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
  const label = fc.stringMatching(/^[a-zA-Z0-9]([a-zA-Z0-9-]{0,6}[a-zA-Z0-9])?$/);
  const name = fc.array(label, { minLength: 2, maxLength: 4 }).map((labels) => labels.join('.'));
  const host = fc.oneof(
    name,
    fc.ipV4(),
    fc.constant('localhost'),
    fc.constantFrom('[::1]', '[2001:db8::1]', '[fc00::]'),
  );
  const port = fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined });
  const domain = fc.tuple(host, port).map(([text, number]) => (number === undefined ? text : `${text}:${number}`));
  const tag = fc.option(fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,40}$/), { nil: undefined });
  const digest = fc.option(
    fc.stringMatching(/^[0-9a-f]{64}$/).map((hex) => `sha256:${hex}`),
    { nil: undefined },
  );
  const text = fc
    .tuple(fc.option(domain, { nil: undefined }), path, tag, digest)
    // Without a domain, a first part with a dot is read as one, and may be none that is valid.
    .filter(([at, repository]) => at !== undefined || !/^[^/]*\.[^/]*\//.test(repository))
    .map(
      ([at, repository, tagged, digested]) =>
        `${at === undefined ? '' : `${at}/`}${repository}${tagged === undefined ? '' : `:${tagged}`}${digested === undefined ? '' : `@${digested}`}`,
    );

  test('what is parsed and printed parses to the same, in the canonical and in the short form', () => {
    fc.assert(
      fc.property(text, (given) => {
        const reference = parseReference(given);
        expect(parseReference(formatReference(reference))).toEqual(reference);
        expect(parseReference(familiarReference(reference))).toEqual(reference);
        expect(formatReference(parseReference(formatReference(reference)))).toBe(formatReference(reference));
      }),
      { numRuns: 1000 },
    );
  });

  test('any text is either a reference that prints and parses, or refused with invalid_reference', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[a-zA-Z0-9.:/@_[\]-]{0,60}$/)), (given) => {
        try {
          const reference = parseReference(given);
          expect(parseReference(formatReference(reference))).toEqual(reference);
        } catch (error) {
          expect(error).toMatchObject({ name: 'OciError', code: 'invalid_reference' });
        }
      }),
      { numRuns: 2000 },
    );
  });

  test('a long hostile text is judged at once', () => {
    expect(refusal(`${'a-'.repeat(500)}!`)).toContain('invalid reference');
    expect(refusal('a'.repeat(1_000_000))).toContain('longer than');
    // 17 minutes, where each @ is followed to the end of the text.
    expect(refusal('@'.repeat(1_000_000))).toContain('longer than');
  });
});
