import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';

export interface TestProxy {
  readonly url: string;
  /** Targets of the tunnels that were asked for, `host:port`. */
  readonly tunnels: string[];
  /** `Proxy-Authorization` of each. */
  readonly authorizations: (string | undefined)[];
  close(): Promise<void>;
}

/** An HTTP proxy that tunnels (CONNECT) to one loopback port, whatever was asked for, so that names can be made up. */
export async function startProxy(port: number, status = 200): Promise<TestProxy> {
  const tunnels: string[] = [];
  const authorizations: (string | undefined)[] = [];
  const sockets = new Set<Duplex>();
  const server = createServer((_, response) => response.writeHead(405).end());
  server.on('connect', (request, client) => {
    tunnels.push(request.url ?? '');
    authorizations.push(request.headers['proxy-authorization']);
    sockets.add(client);
    client.on('close', () => sockets.delete(client));
    if (status !== 200) return client.end(`HTTP/1.1 ${status} No\r\ncontent-length: 0\r\n\r\n`);
    const target = connect(port, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      target.pipe(client).pipe(target);
    });
    for (const [one, other] of [
      [client, target],
      [target, client],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
    return undefined;
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the test proxy has no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    tunnels,
    authorizations,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      // The server counts tunnels no more.
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
