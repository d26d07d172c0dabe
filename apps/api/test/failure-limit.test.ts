import { expect, test } from '@jest/globals';
import { FailureLimit } from '../access/failure-limit.ts';

const allowed = 20;

/** Counts failures of the addresses in turn, as many as are allowed. */
async function exhaust(limit: FailureLimit, ...addresses: string[]): Promise<void> {
  for (let i = 0; i < allowed; i += 1) await limit.count(addresses[i % addresses.length]);
}

test.each([
  ['an IPv4 address', ['192.0.2.7'], '192.0.2.7', '192.0.2.8'],
  ['an IPv4 address written as IPv6', ['192.0.2.7', '::ffff:192.0.2.7'], '::ffff:192.0.2.7', '::ffff:192.0.2.8'],
  ['a /64 of IPv6', ['2001:db8:0:1::1', '2001:db8:0:1:a:b:c:d'], '2001:db8::1:ffff:0:0:1', '2001:db8:0:2::1'],
  ['a /64 that begins with zeros', ['::1', '0:0:0:0:5::'], '::2', '0:0:0:1::1'],
])('wrong tokens are counted by %s', async (_what, addresses, same, other) => {
  const limit = new FailureLimit();
  await exhaust(limit, ...addresses);
  await expect(limit.count(same)).rejects.toMatchObject({ status: 429, code: 'too_many_failures' });
  await expect(limit.count(other)).resolves.toBeUndefined();
});
