import { describe, expect, test } from '@jest/globals';
import { parseChallenges } from '../authentication/challenge.ts';

function plain(header: string): [string, Record<string, string>][] {
  return parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);
}

describe('parseChallenges', () => {
  test('a token server, with commas within the scope', () => {
    const header =
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/a:pull,push"';
    expect(plain(header)).toEqual([
      [
        'bearer',
        {
          realm: 'https://auth.docker.io/token',
          service: 'registry.docker.io',
          scope: 'repository:library/a:pull,push',
        },
      ],
    ]);
  });

  test('several challenges in one value, bare and quoted values, odd spaces', () => {
    expect(plain('Negotiate, Basic realm=plain ,  BEARER Realm = "https://t/" , service="a \\"b\\""')).toEqual([
      ['negotiate', {}],
      ['basic', { realm: 'plain' }],
      ['bearer', { realm: 'https://t/', service: 'a "b"' }],
    ]);
  });

  test('a token68 is passed over', () => {
    expect(plain('NTLM TlRMTVNTUAAB==, Basic realm="x"')).toEqual([
      ['ntlm', {}],
      ['basic', { realm: 'x' }],
    ]);
  });

  test.each(['', ',', '"', '=', 'Bearer realm="unclosed', 'Bearer =x', '\u0000'])(
    'garbage %j ends without an error',
    (header) => {
      expect(plain(header).every(([, parameters]) => Object.keys(parameters).length === 0)).toBe(true);
    },
  );
});
