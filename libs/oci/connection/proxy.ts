import { BlockList, isIP } from 'node:net';
import { OciError } from '../error.ts';
import { hostName, isLoopbackHost } from './host.ts';

/** Proxies for outgoing requests. What is undefined comes from `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` (or in lower case). */
export interface ProxySettings {
  readonly http?: string;
  readonly https?: string;
  /** Hosts to connect to directly, separated by commas; see `NO_PROXY`. */
  readonly exclude?: string;
}

const PROTOCOLS: ReadonlySet<string> = new Set(['http:', 'https:', 'socks5:', 'socks:']);

/**
 * The proxy for a URL, chosen as curl, Docker and Go do: `HTTP_PROXY` is for plain HTTP only, and loopback hosts are never
 * proxied. Undefined for a direct connection.
 *
 * @throws OciError `invalid_request` for a malformed setting, without quoting it, since it may contain a password
 */
export function proxyFor(
  url: URL,
  settings: ProxySettings = {},
  environment: NodeJS.ProcessEnv = process.env,
): URL | undefined {
  const isSecure = url.protocol === 'https:';
  const given = isSecure
    ? (settings.https ?? environment.https_proxy ?? environment.HTTPS_PROXY)
    : (settings.http ?? environment.http_proxy ?? environment.HTTP_PROXY);
  const text = given?.trim() ?? '';
  const excluded = settings.exclude ?? environment.no_proxy ?? environment.NO_PROXY ?? '';
  if (text === '' || isLoopbackHost(url.host) || isExcluded(url, excluded)) return undefined;
  const whole = /^[a-z][a-z0-9]*:\/\//i.test(text) ? text : `http://${text}`;
  const proxy = URL.canParse(whole) ? new URL(whole) : undefined;
  if (proxy !== undefined && PROTOCOLS.has(proxy.protocol) && proxy.hostname !== '' && isEscapedWell(proxy))
    return proxy;
  throw new OciError(
    'invalid_request',
    `${isSecure ? 'HTTPS_PROXY' : 'HTTP_PROXY'} is not the URL of a proxy; write it as http://host:port`,
  );
}

/** Whether its name and password can be decoded. */
function isEscapedWell({ username, password }: URL): boolean {
  try {
    decodeURIComponent(username + password);
    return true;
  } catch {
    return false;
  }
}

/**
 * Whether a NO_PROXY list covers the host. An entry is a domain, including its subdomains (also written `.example.com`), an address, a
 * range of addresses (`10.0.0.0/8`), or `*`; domains and addresses may have a port.
 */
function isExcluded(url: URL, list: string): boolean {
  const host = hostName(url.host);
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return list.split(/[\s,]+/).some((entry) => {
    if (entry === '*') return true;
    if (isIP(host) !== 0) return isInRange(host, entry) || isSameAddress(host, port, entry);
    const [, name = '', entryPort = port] = /^([^:]*)(?::([0-9]+))?$/.exec(entry.toLowerCase()) ?? [];
    const domain = name.replace(/^\*?\./, '');
    return domain !== '' && entryPort === port && (host === domain || host.endsWith(`.${domain}`));
  });
}

function isSameAddress(host: string, port: string, entry: string): boolean {
  // The end of a bare IPv6 address looks like a port.
  const isBare = isIP(entry) !== 0;
  const [, entryPort = port] = (isBare ? null : /:([0-9]+)$/.exec(entry)) ?? [];
  const address = isBare ? entry : hostName(entry);
  return entryPort === port && isInRange(host, `${address}/${isIP(host) === 4 ? 32 : 128}`);
}

function isInRange(address: string, entry: string): boolean {
  const family = isIP(address);
  const [network = '', prefix = ''] = entry.split('/');
  if (isIP(network) !== family || !/^[0-9]{1,3}$/.test(prefix) || Number(prefix) > (family === 4 ? 32 : 128))
    return false;
  const range = new BlockList();
  range.addSubnet(network, Number(prefix), family === 4 ? 'ipv4' : 'ipv6');
  return range.check(address, family === 4 ? 'ipv4' : 'ipv6');
}
