import { format, inspect } from 'node:util';
import { expect, test } from '@jest/globals';
import { Secret } from '../index.ts';

const text = 'hunter2-very-secret';

test('gives its text only when asked', () => {
  expect(new Secret(text).reveal()).toBe(text);
});

test.each([
  ['String()', (secret: Secret) => String(secret)],
  ['a template', (secret: Secret) => `${secret}`],
  ['concatenation', (secret: Secret) => ['', secret].join('')],
  ['JSON', (secret: Secret) => JSON.stringify({ nested: [secret] })],
  ['inspect', (secret: Secret) => inspect({ nested: { secret } }, { showHidden: true, depth: 9 })],
  ['format', (secret: Secret) => format('%s %o %j', secret, secret, secret)],
  ['an error', (secret: Secret) => inspect(new Error(`cannot use ${secret}`, { cause: secret }))],
])('shows nothing through %s', (_name, print) => {
  const printed = print(new Secret(text));
  expect(printed).not.toContain(text);
  expect(printed).toContain('[redacted]');
});

test('has no property that holds its text', () => {
  const secret = new Secret(text);
  expect(JSON.stringify(Object.getOwnPropertyDescriptors(secret))).not.toContain(text);
  expect({ ...secret }).toEqual({});
});
