import * as z from 'zod';
import { systemErrorName } from './system-error-name.ts';

/** What a system error means for the data directory, whatever was being done. */
export interface SystemFailure {
  readonly code: 'disk_failed' | 'no_space' | 'not_writable' | 'out_of_resources';
  readonly message: string;
  /** Whether trying again can help. */
  readonly retryable: boolean;
}

interface Kind {
  readonly errors: readonly string[];
  readonly code: SystemFailure['code'];
  readonly message: (what: string) => string;
  readonly retryable: boolean;
}

/** See errno(3). */
const KINDS: readonly Kind[] = [
  {
    errors: ['ENOSPC', 'EDQUOT'],
    code: 'no_space',
    message: (what) => `no space left on the disk of the data directory (${what}); free some and try again`,
    retryable: false,
  },
  {
    errors: ['EACCES', 'EPERM'],
    code: 'not_writable',
    message: (what) => `the data directory does not let this user write (${what})`,
    retryable: false,
  },
  {
    errors: ['EROFS'],
    code: 'not_writable',
    message: (what) => `the disk of the data directory is read-only (${what}); where it was not made so, it failed`,
    retryable: false,
  },
  {
    errors: ['EFBIG'],
    code: 'not_writable',
    message: (what) =>
      `a file may not be that large in the data directory (${what}); raise "ulimit -f" or LimitFSIZE= of the server, or use another file system`,
    retryable: false,
  },
  {
    // ESTALE: an NFS server has been restarted, or has lost the file. A disk that vanished may come back, too. EINTR: a network or FUSE file
    // system has given up a call.
    errors: ['EIO', 'EINTR', 'EBADMSG', 'EUCLEAN', 'ENXIO', 'ENODEV', 'ESTALE'],
    code: 'disk_failed',
    message: (what) => `the disk of the data directory failed (${what}); the log of its host's kernel tells why`,
    retryable: true,
  },
  {
    errors: ['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN'],
    code: 'out_of_resources',
    message: (what) => `the server has no more memory, processes or open files (${what}); raise its limits`,
    retryable: true,
  },
];

const withCause = z.object({ cause: z.unknown() });

/** Most causes that are followed; a chain of causes may be circular. */
const CAUSE_DEPTH = 8;

/**
 * Classifies an error that a system error has caused, at any depth of its causes; undefined for other errors.
 *
 * @param what was being done, if that is known
 */
export function systemFailure(error: unknown, what?: string): SystemFailure | undefined {
  let cause = error;
  for (let depth = 0; depth <= CAUSE_DEPTH && cause !== undefined; depth += 1) {
    const system = systemErrorName(cause);
    const kind = KINDS.find(({ errors }) => system !== undefined && errors.includes(system));
    if (kind !== undefined) {
      const message = kind.message(what === undefined ? `${system}` : `${what}: ${system}`);
      return { code: kind.code, message, retryable: kind.retryable };
    }
    cause = withCause.safeParse(cause).data?.cause;
  }
  return undefined;
}
