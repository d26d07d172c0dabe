import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export interface TestSocksProxy {
  readonly url: string;
  /** Names of the hosts that were asked for. */
  readonly hosts: string[];
  close(): Promise<void>;
}

const VERSION = 5;
const DOMAIN_NAME = 3;

/** A SOCKS proxy (RFC 1928) without a login, which connects to one loopback port, whatever name was asked for. */
export async function startSocksProxy(port: number): Promise<TestSocksProxy> {
  const hosts: string[] = [];
  const sockets = new Set<Socket>();
  const serve = async (client: Socket): Promise<void> => {
    const [greeting]: Buffer[] = await once(client, 'data');
    if (greeting?.[0] !== VERSION) throw new Error('this is not SOCKS 5');
    client.write(Buffer.from([VERSION, 0]));
    const [request]: Buffer[] = await once(client, 'data');
    if (request?.[3] !== DOMAIN_NAME) throw new Error('this is no name');
    hosts.push(request.subarray(5, 5 + (request[4] ?? 0)).toString());
    const target = connect(port, '127.0.0.1');
    sockets.add(target.on('error', () => client.destroy()));
    await once(target, 'connect');
    client.write(Buffer.from([VERSION, 0, 0, 1, 127, 0, 0, 1, 0, 0]));
    client.pipe(target).pipe(client);
  };
  const server = createServer((client) => {
    sockets.add(client.on('error', () => {}));
    serve(client).catch(() => client.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the test proxy has no port');
  return {
    url: `socks5://127.0.0.1:${address.port}`,
    hosts,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
