import { createSecretKey, randomBytes } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { anyCharacter } from '../../../test/support/any-character.ts';
import { openCredentials, type RegistryCredentials, sealCredentials, TaskError } from '../index.ts';

const key = createSecretKey(randomBytes(32));
const credentials: RegistryCredentials = { username: 'ann', password: 's3cr3t-p4ss' };
const registry = 'ghcr.io';

describe('sealed credentials', () => {
  test('open again', () => {
    const text = fc.string({ unit: anyCharacter });
    const any = fc.oneof(fc.record({ username: text, password: text }), fc.record({ token: text }));
    fc.assert(
      fc.property(any, fc.domain(), (secret, domain) => {
        expect(openCredentials(sealCredentials(secret, key, domain), key, domain)).toEqual(secret);
      }),
    );
  });

  test('show nothing, and differ each time', () => {
    const sealed = sealCredentials(credentials, key, registry);
    expect(sealed).toMatch(/^v1\.[A-Za-z0-9_-]+$/);
    expect(Buffer.from(sealed.slice(3), 'base64url').toString('latin1')).not.toContain('s3cr3t');
    expect(sealCredentials(credentials, key, registry)).not.toBe(sealed);
  });

  test('do not open with another key, nor for another registry', () => {
    const sealed = sealCredentials(credentials, key, registry);
    const opening = () => openCredentials(sealed, createSecretKey(randomBytes(32)), registry);
    expect(opening).toThrow(expect.objectContaining({ code: 'secret_key_mismatch', retryable: false }));
    expect(opening).toThrow(/same key .*BHATTI_SECRET_KEY.* start them again, and ask for the image again/);
    expect(() => openCredentials(sealed, key, 'evil.example')).toThrow(/do not open/);
  });

  test('do not open when any byte was changed or cut off', () => {
    const bytes = Buffer.from(sealCredentials(credentials, key, registry).slice(3), 'base64url');
    for (let position = 0; position < bytes.length; position += 1) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(bytes.readUInt8(position) ^ 1, position);
      expect(() => openCredentials(`v1.${changed.toString('base64url')}`, key, registry)).toThrow(TaskError);
      const cut = bytes.subarray(0, position).toString('base64url');
      expect(() => openCredentials(`v1.${cut}`, key, registry)).toThrow(TaskError);
    }
  });

  test('are refused in another format', () => {
    const sealed = sealCredentials(credentials, key, registry);
    expect(() => openCredentials(sealed.replace('v1', 'v2'), key, registry)).toThrow(TaskError);
    expect(() => openCredentials('', key, registry)).toThrow(TaskError);
  });
});
