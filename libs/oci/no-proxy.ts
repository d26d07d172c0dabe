import { BlockList, isIP } from 'node:net';
import { hostName } from './host.ts';

/**
 * Whether `host[:port]` is an address within one of the ranges of a NO_PROXY list (`10.0.0.0/8,fd00::/8`), as Go's tools and curl read them.
 * undici knows names and single addresses only. What is no range does not count.
 */
export function isExcludedAddress(host: string, noProxy: string): boolean {
  const address = hostName(host);
  const family = isIP(address);
  if (family === 0) return false;
  return noProxy.split(/[\s,]+/).some((entry) => {
    const [network = '', prefix] = entry.split('/');
    if (prefix === undefined) return network === address;
    if (isIP(network) !== family || !/^[0-9]{1,3}$/.test(prefix) || Number(prefix) > (family === 4 ? 32 : 128))
      return false;
    const range = new BlockList();
    range.addSubnet(network, Number(prefix), family === 4 ? 'ipv4' : 'ipv6');
    return range.check(address, family === 4 ? 'ipv4' : 'ipv6');
  });
}
