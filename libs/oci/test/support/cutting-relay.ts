import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export interface CuttingRelay {
  readonly host: string;
  /** Connections that were cut. */
  cuts(): number;
  close(): Promise<void>;
}

/** Passes TCP connections on to a loopback port; each of the first few is cut after so many bytes of answers. */
export async function startCuttingRelay(port: number, bytes: number, times: number): Promise<CuttingRelay> {
  let cuts = 0;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const target = connect(port, '127.0.0.1');
    let passed = 0;
    for (const [one, other] of [
      [client, target],
      [target, client],
    ] as const) {
      sockets.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        sockets.delete(one);
        other.destroySoon();
      });
    }
    client.pipe(target);
    target.on('data', (chunk: Buffer) => {
      const rest = cuts < times ? bytes - passed : chunk.length;
      passed += chunk.length;
      if (rest > chunk.length || cuts >= times) return client.write(chunk);
      cuts += 1;
      client.end(chunk.subarray(0, rest), () => client.destroy());
      target.destroy();
      return undefined;
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the relay has no port');
  return {
    host: `127.0.0.1:${address.port}`,
    cuts: () => cuts,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
