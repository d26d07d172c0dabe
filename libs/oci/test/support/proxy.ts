import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TlsOptions } from 'node:tls';

export interface TestProxy {
  readonly url: string;
  /** Targets of the tunnels that were asked for, `host:port`. */
  readonly tunnels: string[];
  /** `Proxy-Authorization` of each. */
  readonly authorizations: (string | undefined)[];
  /** How many connections there were. */
  readonly connections: () => number;
  close(): Promise<void>;
}

export interface TestProxyOptions {
  /** Of its answer; `none` ends the connection without one, `never` leaves it open. Default: 200. */
  readonly status?: number | 'none' | 'never';
  /** To be asked by TLS. */
  readonly tls?: TlsOptions;
}

/** An HTTP proxy that tunnels (CONNECT) to one loopback port, whatever was asked for, so that names can be made up. */
export async function startProxy(port: number, { status = 200, tls }: TestProxyOptions = {}): Promise<TestProxy> {
  const tunnels: string[] = [];
  const authorizations: (string | undefined)[] = [];
  const sockets = new Set<Duplex>();
  let connections = 0;
  const server = tls === undefined ? createServer() : createTlsServer(tls);
  server.on('connection', () => {
    connections += 1;
  });
  server.on('connect', (request, client) => {
    tunnels.push(request.url ?? '');
    authorizations.push(request.headers['proxy-authorization']);
    sockets.add(client);
    client.on('close', () => sockets.delete(client));
    if (status === 'none') return client.destroy();
    if (status === 'never') return undefined;
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
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${address.port}`,
    tunnels,
    authorizations,
    connections: () => connections,
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
