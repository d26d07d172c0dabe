import { join } from 'node:path';
import { type StorePaths, storePaths } from '@bhatti/store';
import { counted } from '@bhatti/tasks';
import { CliError } from './cli-error.ts';

/** The files through which the parts of a local stack find each other, below its data directory. */
export interface LocalPaths extends StorePaths {
  readonly dataDirectory: string;
  /** Written by the API: its process and the address it listens on. */
  readonly apiFile: string;
  /** The lock of the stack: which process supervises it. */
  readonly lockFile: string;
  /** What the supervisor says about itself and its children. */
  readonly stateFile: string;
  readonly logFile: string;
}

/** `sun_path` has 108 bytes, the last one NUL. */
const SOCKET_PATH_MAX = 107;

export function localPaths(dataDirectory: string): LocalPaths {
  const paths = storePaths(dataDirectory);
  return {
    ...paths,
    dataDirectory,
    apiFile: join(paths.runDirectory, 'api.json'),
    lockFile: join(paths.runDirectory, 'serve.pid'),
    stateFile: join(paths.runDirectory, 'serve.json'),
    logFile: join(paths.runDirectory, 'serve.log'),
  };
}

/** Throws CliError `data_dir_too_long` when a socket of the stack would not fit into a unix socket address. */
export function checkSocketPaths(paths: LocalPaths): void {
  const longest = Math.max(Buffer.byteLength(paths.apiSocket), Buffer.byteLength(paths.redisSocket));
  if (longest <= SOCKET_PATH_MAX) return;
  throw new CliError(
    'data_dir_too_long',
    `the path of the data directory is too long for unix sockets: ${paths.dataDirectory}`,
    {
      hint: `Choose one that is at least ${counted(longest - SOCKET_PATH_MAX, 'byte')} shorter with --data-dir or BHATTI_DATA_DIR.`,
    },
  );
}
