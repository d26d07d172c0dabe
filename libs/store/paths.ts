import { join } from 'node:path';

/** Paths in a data directory, other than those of content. */
export interface StorePaths {
  /** Data of the embedded Redis. */
  readonly redisDirectory: string;
  readonly runDirectory: string;
  readonly apiSocket: string;
  readonly redisSocket: string;
  /** The bearer token of the local admin. */
  readonly tokenFile: string;
  /** All other users, their tokens hashed. */
  readonly usersFile: string;
  /** The key that seals credentials. */
  readonly secretKeyFile: string;
}

/** The paths in a data directory. Creates nothing. */
export function storePaths(dataDirectory: string): StorePaths {
  const runDirectory = join(dataDirectory, 'run');
  return {
    redisDirectory: join(dataDirectory, 'redis'),
    runDirectory,
    apiSocket: join(runDirectory, 'api.sock'),
    redisSocket: join(runDirectory, 'redis.sock'),
    tokenFile: join(dataDirectory, 'token'),
    usersFile: join(dataDirectory, 'users.json'),
    secretKeyFile: join(dataDirectory, 'secret.key'),
  };
}

/** The folders of content in a data directory. */
export function contentPaths(dataDirectory: string) {
  return {
    layers: join(dataDirectory, 'layers', 'sha256'),
    partials: join(dataDirectory, 'partial', 'sha256'),
    rootfs: join(dataDirectory, 'rootfs', 'sha256'),
    images: join(dataDirectory, 'images'),
    uploads: join(dataDirectory, 'uploads'),
  };
}
