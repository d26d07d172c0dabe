import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** When a gate shuts: at a request, before Redis gets it, or at the answer to a command. */
export interface Shutting {
  /** A condition outside Redis, checked at each request. */
  readonly when: () => boolean;
  /** Shuts at the answer to a command that this matches; left out, at any request. */
  readonly answerTo?: RegExp;
  /** Called as it shuts, before anything else happens. */
  readonly onShut: () => void;
}

/** A relay between a process and Redis. While it is shut nothing passes in either direction, and nothing is lost. */
export interface RedisGate {
  /** Where the process connects to. */
  readonly socketPath: string;
  /** Shuts once; resolves when it has. */
  shut(shutting: Shutting): Promise<void>;
  open(): void;
  close(): Promise<void>;
}

export async function startRedisGate(redisSocketPath: string, socketPath: string): Promise<RedisGate> {
  const sockets = new Set<Socket>();
  let held: (() => void)[] | undefined;
  let next: (Shutting & { readonly hasShut: () => void }) | undefined;

  const pass = (to: Socket, data: Buffer) => {
    if (held === undefined) to.write(data);
    else held.push(() => to.write(data));
  };
  const shutNow = ({ onShut, hasShut }: NonNullable<typeof next>) => {
    held = [];
    next = undefined;
    onShut();
    hasShut();
  };
  const server = createServer((client) => {
    const redis = connect(redisSocketPath);
    let awaited = false;
    for (const [socket, other] of [
      [client, redis],
      [redis, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    client.on('data', (data) => {
      if (next?.when()) {
        if (next.answerTo === undefined) shutNow(next);
        else awaited ||= next.answerTo.test(data.toString('latin1'));
      }
      pass(redis, data);
    });
    redis.on('data', (data) => {
      if (awaited && next !== undefined) shutNow(next);
      awaited = false;
      pass(client, data);
    });
  });
  server.listen(socketPath);
  await once(server, 'listening');
  return {
    socketPath,
    shut: (shutting) =>
      new Promise((hasShut) => {
        next = { ...shutting, hasShut };
      }),
    open: () => {
      const passing = held ?? [];
      held = undefined;
      for (const write of passing) write();
    },
    close: async () => {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
}
