import { randomBytes } from 'node:crypto';
import { lstatSync, unlinkSync } from 'node:fs';
import { chmod, lstat, rename } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import { connect, isIPv6 } from 'node:net';
import { dirname, join } from 'node:path';
import * as z from 'zod';
import type { ListenAddress } from './config.ts';
import { answerBadRequest } from './request/bad-request.ts';
import { errorCode } from './request/error-code.ts';

/** A listener that cannot be opened. The message says why, and what to do. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
}

const boundAddress = z.object({ port: z.int() });

/** The kernel's limit for the path of a unix socket (sockaddr_un), in bytes. */
const socketPathLimit = 107;

/**
 * Listens on a unix socket with mode 0600. The socket of a process that died is replaced, and so is that of an API on another host
 * that shares the directory: it answers nobody here. One that answers is a ListenError, because two APIs on one host would take each
 * other's clients. When the server closes, the socket is removed, unless it is another's meanwhile.
 */
export async function listenOnSocket(path: string, listener: RequestListener): Promise<Server> {
  await requireFreeSocket(path);
  const server = httpServer(listener);
  // Node removes the name that it was told, whoever's socket has it by then; so it is told one that is nobody else's, and no longer.
  // libs/store/orphans.ts knows its form.
  const own = join(dirname(path), randomBytes(4).toString('hex'));
  await listen(server, { path: own });
  try {
    await chmod(own, 0o600);
    const { ino } = await lstat(own);
    await rename(own, path);
    server.once('close', () => removeSocket(path, ino));
    return server;
  } catch (error) {
    // Removes the file as well, which has its own name still.
    server.close();
    throw error;
  }
}

function removeSocket(path: string, ino: number): void {
  try {
    if (lstatSync(path).ino === ino) unlinkSync(path);
  } catch {
    // One that cannot be removed answers nobody, and the next API replaces it.
  }
}

/** Rejects with ListenError where `listenOnSocket` would. */
export async function requireFreeSocket(path: string): Promise<void> {
  if (Buffer.byteLength(path) > socketPathLimit) {
    throw new ListenError(
      `the path of the unix socket is longer than ${socketPathLimit} bytes: ${path}; use a data directory with a shorter path (BHATTI_DATA_DIR)`,
    );
  }
  if (await answers(path)) {
    throw new ListenError(
      `another API is running on this data directory: ${path} answers; stop it first, or set another BHATTI_DATA_DIR`,
    );
  }
}

/**
 * Listens on TCP. null when the default address is taken: the unix socket is enough for the local stack. A configured
 * address that cannot be bound is a ListenError.
 */
export async function listenOnTcp(address: ListenAddress, listener: RequestListener): Promise<Server | null> {
  const server = httpServer(listener);
  try {
    await listen(server, { host: address.host, port: address.port });
    return server;
  } catch (error) {
    const code = errorCode(error);
    if (code === 'EADDRINUSE' && !address.explicit) return null;
    throw new ListenError(`cannot listen on ${address.host}:${address.port}: ${reasonOf(code)}; set BHATTI_LISTEN`, {
      cause: error,
    });
  }
}

/** `http://127.0.0.1:8080` of a TCP server: its real port where 0 was asked for, and loopback for a wildcard. */
export function urlOf(server: Server, address: ListenAddress): string {
  const { port } = boundAddress.parse(server.address());
  const wildcard: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };
  const host = wildcard[address.host] ?? address.host;
  return `http://${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** Resolves when no connection is left; after `graceMilliseconds` those that are left are cut. */
export async function closeServer(server: Server, graceMilliseconds: number): Promise<void> {
  const cut = setTimeout(() => server.closeAllConnections(), graceMilliseconds);
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    server.closeIdleConnections();
  });
  clearTimeout(cut);
}

function httpServer(listener: RequestListener): Server {
  const server = createServer(
    {
      // Longer than the CLI's poll of 2 s, so that it does not connect anew each time.
      keepAliveTimeout: 15_000,
      headersTimeout: 60_000,
      // An upload takes as long as it takes.
      requestTimeout: 0,
    },
    listener,
  );
  // Whoever reads the body sends 100 Continue first (`askForBody`).
  server.on('checkContinue', listener);
  // Other expectations may be ignored (RFC 9110, 10.1.1); Node would answer them with a bare 417.
  server.on('checkExpectation', listener);
  server.on('clientError', answerBadRequest);
  return server;
}

function listen(server: Server, options: { path: string } | { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error) => {
      const code = errorCode(error);
      // ENOTSOCK: some other file has the name; the rename will fail if it is a folder.
      if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTSOCK') resolve(false);
      else reject(error);
    });
  });
}

function reasonOf(code: string | undefined): string {
  if (code === 'EADDRINUSE') return 'the port is taken';
  if (code === 'EACCES') return 'not permitted (ports below 1024 need a privilege)';
  if (code === 'EADDRNOTAVAIL') return 'this machine does not have the address';
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'the host name is not known';
  return code ?? 'unknown reason';
}
