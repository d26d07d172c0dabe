import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { anyCharacter } from '../../../test/support/any-character.ts';
import { deriveImageName, isValidImageName } from '../index.ts';

const hex = 'a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4';

describe('deriveImageName', () => {
  test.each([
    [{ path: 'library/python', tag: '3.12' }, 'python-3.12'],
    [{ path: 'library/node', tag: '22-slim' }, 'node-22-slim'],
    [{ path: 'myorg/sandbox-base', tag: 'latest' }, 'sandbox-base-latest'],
    [{ path: 'library/ubuntu' }, 'ubuntu-latest'],
    [{ path: 'library/ubuntu', digest: `sha256:${hex}` }, 'ubuntu-a3ed95caeb02'],
    [{ path: 'library/ubuntu', tag: '24.04', digest: `sha256:${hex}` }, 'ubuntu-24.04'],
    [{ path: 'a/b/c/deep_name', tag: 'V1.0-RC' }, 'deep_name-V1.0-RC'],
    [{ path: 'single', tag: '_odd' }, 'single-_odd'],
  ])('%j -> %s', (reference, name) => {
    expect(deriveImageName(reference)).toBe(name);
  });

  test('cuts long names to 63 characters, and keeps apart what differs at its end', () => {
    const nameOf = (tag: string) => deriveImageName({ path: 'library/python', tag });
    const name = nameOf(`${'x'.repeat(100)}-1`);
    expect(name).toMatch(/^python-x{43}-[0-9a-f]{12}$/);
    expect(name).toHaveLength(63);
    expect(nameOf(`${'x'.repeat(100)}-1`)).toBe(name);
    expect(nameOf(`${'x'.repeat(100)}-2`)).not.toBe(name);
    expect(nameOf('x'.repeat(56))).toBe(`python-${'x'.repeat(56)}`);
  });

  test('is valid for every reference that the grammar allows', () => {
    const component = fc.stringMatching(/^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$/);
    const path = fc.array(component, { minLength: 1, maxLength: 4 }).map((components) => components.join('/'));
    const tag = fc.option(fc.stringMatching(/^\w[\w.-]{0,127}$/), { nil: undefined });
    const digest = fc.option(fc.stringMatching(/^sha256:[0-9a-f]{64}$/), { nil: undefined });
    fc.assert(
      fc.property(fc.record({ path, tag, digest }), (reference) => isValidImageName(deriveImageName(reference))),
    );
  });

  test('is valid even for what the grammar does not allow', () => {
    const reference = fc.record({
      path: fc.string({ unit: anyCharacter }),
      tag: fc.option(fc.string({ unit: anyCharacter }), { nil: undefined }),
      digest: fc.option(fc.string(), { nil: undefined }),
    });
    fc.assert(fc.property(reference, (odd) => isValidImageName(deriveImageName(odd))));
  });
});

describe('isValidImageName', () => {
  test.each(['a', 'A9', 'python-3.12', 'a_b.c-d', 'x'.repeat(63)])('takes %s', (name) => {
    expect(isValidImageName(name)).toBe(true);
  });

  test.each(['', '.', '..', '.hidden', '-a', '_a', 'a/b', 'a b', 'ä', 'a\n', 'a\0', '../a', 'x'.repeat(64)])(
    'refuses %j',
    (name) => {
      expect(isValidImageName(name)).toBe(false);
    },
  );
});
