import { connect } from 'node:net';
import type { RedisOptions } from 'ioredis';

/** Ms within which a server says what it has to say of itself. */
const patience = 1000;

/** What an operator can do about it, by how the server begins. */
const advice: readonly (readonly [RegExp, string])[] = [
  [/^DENIED .*protected mode/, 'give it a password (requirepass), and write that into REDIS_URL'],
  [/^ERR max number of clients/, 'raise its maxclients, or end what holds its connections'],
];

/**
 * What is to be said of a server that lets nobody in: it is in protected mode (no password, and asked from another host), or has all the
 * clients that it may have. It tells that to a new connection without being asked, and closes; ioredis passes over it, and reports a connection
 * that broke. Undefined where the server says no such thing, cannot be reached, or is asked over TLS. Never rejects.
 */
export async function refusalOf({ host, port, path, tls }: RedisOptions): Promise<string | undefined> {
  if (tls !== undefined) return undefined;
  const address = path !== undefined ? { path } : host !== undefined && port !== undefined ? { host, port } : undefined;
  if (address === undefined) return undefined;
  // Of protected mode it tells in a whole paragraph.
  const refusal = /^-([^.\r\n]+)/.exec(await greetingOf(address))?.[1];
  if (refusal === undefined) return undefined;
  const known = advice.find(([beginning]) => beginning.test(refusal));
  return `Redis refuses us: ${refusal}${known === undefined ? '' : `; ${known[1]}`}`;
}

function greetingOf(address: { path: string } | { host: string; port: number }): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ ...address, timeout: patience });
    const end = (text: string) => {
      socket.destroy();
      resolve(text);
    };
    socket.once('data', (bytes) => end(bytes.toString('latin1')));
    for (const event of ['timeout', 'error', 'close']) socket.once(event, () => end(''));
  });
}
