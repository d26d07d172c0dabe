import { isIP } from 'node:net';
import type { RedisOptions } from 'ioredis';
import { TaskError } from '../error.ts';

const defaultPort = 6379;
const defaultSentinelPort = 26379;

export interface ClusterNode {
  readonly host: string;
  readonly port: number;
}

/** Where Redis is, for ioredis. */
export interface RedisAddress {
  readonly options: RedisOptions;
  /** Some of the nodes of a Cluster, from which the others are discovered. The options apply to each node. */
  readonly clusterNodes?: readonly ClusterNode[];
}

/**
 * Parses `redis://user:password@host:port/db`, `rediss://` (TLS), `redis+unix:///path/redis.sock?db=0` (also `unix://`),
 * a bare absolute or `./` path of a unix socket, `redis+sentinel://host:port,host:port/master-name?db=0`, or
 * `redis+cluster://user:password@host:port,host:port` (some of the nodes).
 *
 * @throws TaskError `invalid_request`; the message never repeats the URL, which may contain a password
 */
export function parseRedisUrl(text: string): RedisAddress {
  if (/^\.{0,2}\//.test(text)) return { options: { path: text, db: 0 } };
  const scheme = /^([a-z][a-z0-9+]*):\/\//.exec(text)?.[1];
  if (scheme === 'redis' || scheme === 'rediss') return hostAddress(parseUrl(text), scheme === 'rediss');
  if (scheme === 'redis+unix' || scheme === 'unix') return socketAddress(text);
  if (scheme === 'redis+sentinel') return sentinelAddress(text);
  if (scheme === 'redis+cluster') return clusterAddress(text);
  throw invalid(
    'use redis://host:port, rediss://host:port, redis+sentinel://…, redis+cluster://… or the path of a unix socket',
  );
}

function hostAddress(url: URL, tls: boolean): RedisAddress {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1') || '127.0.0.1';
  const port = url.port === '' ? defaultPort : Number(url.port);
  const options: RedisOptions = {
    host,
    port,
    db: databaseOf(url.pathname.replace(/^\//, '') || url.searchParams.get('db')),
    ...credentialsOf(url),
    // An address is not allowed as a server name (RFC 6066); the certificate is checked against it all the same.
    ...(tls ? { tls: isIP(host) === 0 ? { servername: host } : {} } : {}),
  };
  return { options };
}

/** A URL with a user part but no host is invalid, so it is given one. */
function socketAddress(text: string): RedisAddress {
  const url = parseUrl(text.replace(/^([^/]*:\/\/[^/]*@)\//, '$1socket/'));
  const path = decoded(url.pathname);
  if (path === '' || path === '/') throw invalid('the path of the unix socket is missing');
  return { options: { path, db: databaseOf(url.searchParams.get('db')), ...credentialsOf(url) } };
}

/** A URL with several hosts is invalid, so they are taken out first. */
function sentinelAddress(text: string): RedisAddress {
  const match = /^redis\+sentinel:\/\/(?:([^/]*)@)?([^@/?]+)\/([^/?]+)(\?.*)?$/.exec(text);
  const [, userPart = '', hosts = '', master = '', query = ''] = match ?? [];
  if (match === null) throw invalid('use redis+sentinel://host:26379,host:26379/master-name');
  const sentinels = nodesOf(hosts, defaultSentinelPort);
  const url = parseUrl(`redis://${userPart === '' ? '' : `${userPart}@`}sentinel${query}`);
  const name = decoded(master);
  return {
    options: { sentinels, name, db: databaseOf(url.searchParams.get('db')), ...credentialsOf(url) },
  };
}

function clusterAddress(text: string): RedisAddress {
  const match = /^redis\+cluster:\/\/(?:([^/]*)@)?([^@/?]+)\/?$/.exec(text);
  const [, userPart = '', hosts = ''] = match ?? [];
  // Without a database: a Cluster only has database 0.
  if (match === null) throw invalid('use redis+cluster://host:6379,host:6379');
  const url = parseUrl(`redis://${userPart === '' ? '' : `${userPart}@`}cluster`);
  return { options: credentialsOf(url), clusterNodes: nodesOf(hosts, defaultPort) };
}

function nodesOf(hosts: string, standardPort: number): ClusterNode[] {
  return hosts.split(',').map((part) => {
    const url = parseUrl(`redis://${part}`);
    return {
      host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
      port: url.port === '' ? standardPort : Number(url.port),
    };
  });
}

function parseUrl(text: string): URL {
  if (!URL.canParse(text)) throw invalid('it is not a valid URL');
  return new URL(text);
}

function credentialsOf(url: URL): { username?: string; password?: string } {
  return {
    ...(url.username === '' ? {} : { username: decoded(url.username) }),
    ...(url.password === '' ? {} : { password: decoded(url.password) }),
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid('a % in the user, password or path that does not begin an escape has to be written as %25');
  }
}

function databaseOf(text: string | null): number {
  if (text === null || text === '') return 0;
  if (!/^\d{1,5}$/.test(text)) throw invalid('the database must be a number');
  return Number(text);
}

function invalid(reason: string): TaskError {
  return new TaskError('invalid_request', `REDIS_URL is not understood: ${reason}`);
}
