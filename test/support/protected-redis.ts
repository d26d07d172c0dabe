import { once } from 'node:events';
import { createServer } from 'node:net';
import * as z from 'zod';

/** What Redis 7.0.15 answers a client from another host in protected mode. */
const PARAGRAPH =
  "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis configuration file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password for the default user. NOTE: You only need to do one of the above things in order for the server to start accepting connections from the outside.\r\n";

export interface ProtectedRedis {
  readonly url: string;
  /** The number of clients that have sent something and were refused. */
  readonly refused: () => number;
  readonly close: () => Promise<void>;
}

/**
 * Imitates a Redis in protected mode, as a real one accepts every client on loopback, where tests stay. It waits for the client's
 * first command, so that ioredis takes the refusal for the answer to that, as may happen with a real one.
 */
export async function startProtectedRedis(): Promise<ProtectedRedis> {
  let refused = 0;
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => {
      refused += 1;
      socket.end(PARAGRAPH);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = z.object({ port: z.int() }).parse(server.address());
  return {
    url: `redis://127.0.0.1:${port}`,
    refused: () => refused,
    close: async () => {
      server.close();
      await once(server, 'close');
    },
  };
}
