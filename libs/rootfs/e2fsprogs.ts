import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import * as z from 'zod';
import { cancelled, RootfsError, systemCode } from './error.ts';
import { type Executable, findExecutable } from './executable.ts';

const run = promisify(execFile);
const failed = z.object({
  code: z.union([z.string(), z.number()]).nullish(),
  signal: z.string().nullish(),
  /** Present when the program was not started. */
  syscall: z.string().optional(),
  stdout: z.string(),
  stderr: z.string(),
});

/** Exit code of e2fsck(8): it could not do its work. */
const OPERATIONAL_ERROR = 8;

/** The tools are in sbin, which is not on every user's PATH. An empty element of a PATH would mean the working directory (execvp(3)). */
function toolPath(): string {
  const sbin = '/usr/local/sbin:/usr/sbin:/sbin';
  return process.env.PATH ? `${process.env.PATH}:${sbin}` : sbin;
}

/** Environment of mke2fs and e2fsck. Pinned times make their output reproducible, a pinned locale their messages. */
export function toolEnvironment(): NodeJS.ProcessEnv {
  return {
    PATH: toolPath(),
    LC_ALL: 'C',
    TZ: 'UTC',
    MKE2FS_CONFIG: '/dev/null',
    E2FSPROGS_FAKE_TIME: '1',
    SOURCE_DATE_EPOCH: '1',
  };
}

/** @throws RootfsError `mke2fs_missing`, `e2fsck_missing` when e2fsprogs is not installed */
export async function requireE2fsprogs(): Promise<void> {
  await Promise.all([requireTool('mke2fs', 'mke2fs_missing'), requireTool('e2fsck', 'e2fsck_missing')]);
}

/** Only looks for the tool: running it would cost each pull 10 ms, and a broken one reports itself when it is used. */
async function requireTool(tool: string, code: 'mke2fs_missing' | 'e2fsck_missing'): Promise<Executable> {
  const found = await findExecutable(tool, toolPath());
  if (found === undefined) throw toolMissing(tool, code);
  return found;
}

/** The version that mke2fs reported, valid while its file is unchanged. */
let known: { readonly identity: string; readonly version: string } | undefined;

/** The version of mke2fs: `1.47.0 (5-Feb-2023)`. @throws RootfsError `mke2fs_missing` */
export async function e2fsprogsVersion(): Promise<string> {
  const { path, identity } = await requireTool('mke2fs', 'mke2fs_missing');
  if (known?.identity === identity) return known.version;
  try {
    const { stderr } = await run(path, ['-V'], { env: toolEnvironment() });
    known = { identity, version: /^mke2fs (.+)$/m.exec(stderr)?.[1] ?? stderr.trim() };
    return known.version;
  } catch (error) {
    throw toolNotStarted('mke2fs', 'mke2fs_missing', error);
  }
}

/**
 * Checks a file system with `e2fsck -fn`, without changing it; it must be clean (exit code 0).
 *
 * @throws RootfsError `e2fsck_failed` with the first complaints, `e2fsck_missing`
 */
export async function checkFileSystem(path: string, signal?: AbortSignal): Promise<void> {
  try {
    await run('e2fsck', ['-fn', path], { env: toolEnvironment(), signal, maxBuffer: 64 * 1024 * 1024 });
  } catch (error) {
    if (signal?.aborted) throw cancelled(signal.reason);
    const result = failed.safeParse(error);
    if (!result.success || result.data.syscall !== undefined) throw toolNotStarted('e2fsck', 'e2fsck_missing', error);
    if (result.data.signal) throw toolKilled('e2fsck', 'e2fsck_failed', result.data.signal);
    const { code, stderr } = result.data;
    // Not a verdict: it ran out of memory, or a read failed. (Had it found errors too, the lower bits of the code would be set.)
    if (code === OPERATIONAL_ERROR) {
      const words = stderr.split('\n').filter((line) => line.includes(': '));
      throw new RootfsError('e2fsck_failed', `e2fsck could not check the file system: ${words.join('; ')}`, {
        retryable: true,
        cause: error,
      });
    }
    const complaints = result.data.stdout.split('\n').slice(0, 6).join('; ');
    throw new RootfsError('e2fsck_failed', `the file system that was built is not clean: ${complaints}`, {
      cause: error,
    });
  }
}

/** The error for a tool that a signal ended, which says nothing about its input. */
export function toolKilled(tool: string, code: 'mke2fs_failed' | 'e2fsck_failed', signal: string): RootfsError {
  return new RootfsError(code, `${tool} was ended by ${signal}; did the worker's host run out of memory?`, {
    retryable: true,
  });
}

/** The error for a tool that could not be started: it is missing or not executable, or the system is out of resources. */
export function toolNotStarted(tool: string, code: 'mke2fs_missing' | 'e2fsck_missing', cause: unknown): RootfsError {
  const system = systemCode(cause);
  if (system === undefined || ['ENOENT', 'EACCES', 'ENOTDIR'].includes(system)) return toolMissing(tool, code, cause);
  return new RootfsError('internal', `${tool} could not be started (${system})`, { retryable: true, cause });
}

function toolMissing(tool: string, code: 'mke2fs_missing' | 'e2fsck_missing', cause?: unknown): RootfsError {
  return new RootfsError(
    code,
    `${tool} was not found; install the package e2fsprogs on the worker's host (apt-get install e2fsprogs)`,
    { cause },
  );
}
