import { connect } from 'node:net';
import type { RedisOptions } from 'ioredis';

/** Ms to wait for a refusal. */
const patience = 1000;

/** What an operator can do, by the beginning of the server's refusal. */
const advice: readonly (readonly [RegExp, string])[] = [
  [/^DENIED .*protected mode/, 'give it a password (requirepass), and write that into REDIS_URL'],
  [/^ERR max number of clients/, 'raise its maxclients, or end what holds its connections'],
];

/**
 * The reason why a server refuses connections: it is in protected mode (no password, and the client is on another host), or has reached
 * `maxclients`. It sends that to a new connection unasked, and closes it; ioredis ignores it, and reports a broken connection. Undefined
 * where the server sends no such thing, cannot be reached, or uses TLS. Never rejects.
 */
export async function refusalInGreeting({ host, port, path, tls }: RedisOptions): Promise<string | undefined> {
  if (tls !== undefined) return undefined;
  const address = path !== undefined ? { path } : host !== undefined && port !== undefined ? { host, port } : undefined;
  if (address === undefined) return undefined;
  // Only the first sentence: for protected mode, the server sends a whole paragraph.
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
