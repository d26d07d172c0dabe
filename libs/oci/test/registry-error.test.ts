import { expect, test } from '@jest/globals';
import { registryError } from '../registry/registry-error.ts';

function messageFor(said: string): string {
  const body = Buffer.from(JSON.stringify({ errors: [{ code: 'UNKNOWN', message: said }] }));
  const head = { status: 500, headers: new Map() };
  return registryError({ head, body, url: new URL('https://a.test/v2/'), kind: 'blob', what: 'it' }).message;
}

test.each([
  ['see https://b.test/x?sig=secret for more', 'see https://b.test/x for more'],
  ['"https://b.test/x?sig=secret" failed', '"https://b.test/x" failed'],
  ['https://b.test/https://c.test?sig=secret', 'https://b.test/https://c.test'],
  ['https://b.test/x#part and http://c.test?d', 'https://b.test/x#part and http://c.test'],
])('the queries of URLs are not repeated: %s', (said, shown) => {
  expect(messageFor(said)).toBe(`a.test did not send it: UNKNOWN: ${shown} (status 500)`);
});

test('a long hostile message is made safe at once', () => {
  // Minutes, where each beginning of a URL is followed to the end of the text.
  expect(messageFor('http://'.repeat(200_000))).toContain('http://');
});
