import { type LookupAddress, type LookupAllOptions, lookup } from 'node:dns';
import { BlockList, isIP, isIPv4, type LookupFunction } from 'node:net';
import { OciError } from '../error.ts';
import { hostAndPort, hostName, isLoopbackHost, placesOf } from './host.ts';

/**
 * Where an address leads: this machine; its own link, including the metadata services of clouds (which hand out the machine's
 * credentials); other networks that are not routed on the Internet; anywhere else.
 */
export type AddressScope = 'loopback' | 'link-local' | 'private' | 'public';

/** Which addresses may be connected to. The resolved address is checked, for registries, token servers and redirects alike. */
export interface AddressPolicy {
  readonly deny: readonly AddressScope[];
  /** `host[:port]`s that may be connected to at any address, for registries that an operator runs there. */
  readonly allowHosts?: readonly string[];
}

type Subnet = readonly [network: string, prefix: number];

/** IANA's special-purpose address registries (RFC 6890), and metadata services outside 169.254/16 (AWS, Alibaba, Azure, in this order). */
const SUBNETS: readonly (readonly [AddressScope, readonly Subnet[]])[] = [
  // 0.0.0.0 and :: connect to this machine.
  [
    'loopback',
    [
      ['127.0.0.0', 8],
      ['0.0.0.0', 8],
      ['::1', 128],
      ['::', 128],
    ],
  ],
  [
    'link-local',
    [
      ['169.254.0.0', 16],
      ['fe80::', 10],
      ['fd00:ec2::', 32],
      ['100.100.100.200', 32],
      ['168.63.129.16', 32],
    ],
  ],
  [
    'private',
    [
      ['10.0.0.0', 8],
      ['172.16.0.0', 12],
      ['192.168.0.0', 16],
      ['100.64.0.0', 10],
      ['192.0.0.0', 24],
      ['198.18.0.0', 15],
      ['224.0.0.0', 4],
      ['240.0.0.0', 4],
      ['fc00::', 7],
      ['fec0::', 10],
      ['ff00::', 8],
      ['64:ff9b:1::', 48],
    ],
  ],
];

const SCOPES: readonly (readonly [AddressScope, BlockList])[] = SUBNETS.map(([scope, subnets]) => {
  const list = new BlockList();
  for (const [network, prefix] of subnets) list.addSubnet(network, prefix, isIPv4(network) ? 'ipv4' : 'ipv6');
  return [scope, list];
});

/** The scope of an IPv4 or IPv6 address; of an embedded IPv4 address where there is one (mapped, NAT64, 6to4). */
export function addressScope(address: string): AddressScope {
  const [bare = ''] = address.split('%', 1);
  const inner = isIPv4(bare) ? bare : (embeddedIPv4(bare) ?? bare);
  const family = isIPv4(inner) ? 'ipv4' : 'ipv6';
  return SCOPES.find(([, list]) => list.check(inner, family))?.[0] ?? 'public';
}

/** `::ffff:a.b.c.d`, `64:ff9b::a.b.c.d` (RFC 6052) and `2002:aabb:ccdd::` (RFC 3056). */
function embeddedIPv4(address: string): string | undefined {
  const groups = ipv6Groups(address);
  const prefix = groups
    .slice(0, 6)
    .map((group) => group.toString(16))
    .join(':');
  const at = prefix === '0:0:0:0:0:ffff' || prefix === '64:ff9b:0:0:0:0' ? 6 : groups[0] === 0x2002 ? 1 : undefined;
  if (at === undefined) return undefined;
  return groups
    .slice(at, at + 2)
    .flatMap((group) => [group >> 8, group & 0xff])
    .join('.');
}

/** The eight 16-bit groups of an IPv6 address. */
function ipv6Groups(address: string): number[] {
  // The URL parser gives each address its canonical form, without dotted parts (RFC 5952).
  const text = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = [], tail = []] = text.split('::').map((side) => side.split(':').filter((group) => group !== ''));
  const zeros = new Array<string>(8 - head.length - tail.length).fill('0');
  return [...head, ...zeros, ...tail].map((group) => Number.parseInt(group, 16));
}

/** `dns.lookup`, for all addresses of a name. */
export type NameResolver = (
  hostname: string,
  options: LookupAllOptions,
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** Applies a policy to the connections of one client. */
export class AddressGuard {
  readonly #denied: ReadonlySet<AddressScope>;
  readonly #allowedHosts: ReadonlySet<string>;
  readonly #resolve: NameResolver;

  constructor(policy: AddressPolicy | undefined, resolve: NameResolver = lookup) {
    this.#resolve = resolve;
    this.#denied = new Set(policy?.deny);
    this.#allowedHosts = new Set(policy?.allowHosts?.flatMap(placesOf));
  }

  /** Whether the addresses of this `host[:port]` have to be checked at all. */
  watches(host: string, protocol: string): boolean {
    return this.#denied.size > 0 && !this.#allowedHosts.has(hostAndPort({ host, protocol }));
  }

  /**
   * Refuses what can be judged without resolving: addresses, and names that always mean this machine. Needed beside `lookup`, which
   * sockets do not call for addresses, and which is not called at all behind a proxy.
   *
   * @throws OciError `address_denied`
   */
  assertHost(host: string, protocol: string): void {
    if (!this.watches(host, protocol)) return;
    const name = hostName(host);
    const scope = isIP(name) !== 0 ? addressScope(name) : isLoopbackHost(host) ? 'loopback' : undefined;
    if (scope !== undefined && this.#denied.has(scope)) throw refusal(host, scope);
  }

  /** Resolves names for sockets, to the allowed ones of their addresses only: what was checked is what is connected to. */
  readonly lookup: LookupFunction = (hostname, options, callback) => {
    this.#resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, '');
      const allowed = addresses.filter(({ address }) => !this.#denied.has(addressScope(address)));
      const [first] = allowed;
      if (first === undefined) return callback(refusal(hostname, addressScope(addresses[0]?.address ?? '')), '');
      if (options.all) callback(null, allowed);
      else callback(null, first.address, first.family);
    });
  };
}

function refusal(host: string, scope: AddressScope): OciError {
  return new OciError(
    'address_denied',
    `${host} may not be asked: it is at a ${scope} address, which this server does not connect to; an operator can allow the host (BHATTI_ALLOW_HOSTS)`,
    { host },
  );
}
