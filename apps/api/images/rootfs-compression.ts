import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, type FileHandle, constants as modes } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import { pipeline, type Readable, Transform } from 'node:stream';
import { constants, createGzip } from 'node:zlib';

/** A content coding (RFC 9110, 8.4.1; zstd: RFC 8878, 7.2). */
export type ContentCoding = 'zstd' | 'gzip';

/**
 * Compressions of one kind that may run at once; further requests get the next kind, or the plain file. zlib works in Node's
 * pool of 4 threads, which file reads and name lookups need as well; each zstd is a process that takes a processor from the
 * workers.
 */
const mostOfAKind = 2;

/** Finds the executable `name` in the absolute folders of a PATH; null when there is none. */
export async function findProgram(name: string, path: string | undefined): Promise<string | null> {
  for (const directory of (path ?? '').split(delimiter).filter(isAbsolute)) {
    const file = join(directory, name);
    const runs = await access(file, modes.X_OK).then(
      () => true,
      () => false,
    );
    if (runs) return file;
  }
  return null;
}

/** Compresses root filesystems on their way out. */
export class RootfsCompression {
  readonly #zstd: string | null;
  readonly #running: Record<ContentCoding, number> = { zstd: 0, gzip: 0 };

  /** @param zstd the path of the program; without it there is no zstd, for Node 20 has none (decision 015) */
  constructor(zstd: string | null) {
    this.#zstd = zstd;
  }

  /** The codings that can start now, the better one first. */
  get offered(): ContentCoding[] {
    const installed: ContentCoding[] = this.#zstd === null ? ['gzip'] : ['zstd', 'gzip'];
    return installed.filter((coding) => this.#running[coding] < mostOfAKind);
  }

  /**
   * The whole file, compressed. Destroying the stream stops the work; a failure of the work destroys the stream.
   *
   * @param file positioned at its start; closed at the end, or left open when this throws
   * @throws the system's error when the program cannot be started
   */
  async compress(coding: ContentCoding, file: FileHandle): Promise<Readable> {
    if (coding === 'gzip') return this.#byGzip(file);
    if (this.#zstd === null) throw new Error('there is no zstd here');
    return this.#byZstd(this.#zstd, file);
  }

  #byGzip(file: FileHandle): Readable {
    const content = file.createReadStream({ highWaterMark: 1024 * 1024 });
    // Level 1 halves a root filesystem, at three times the speed of the default.
    const gzip = createGzip({ level: constants.Z_BEST_SPEED, chunkSize: 64 * 1024 });
    this.#running.gzip += 1;
    content.once('close', () => {
      this.#running.gzip -= 1;
    });
    pipeline(content, gzip, () => {});
    return gzip;
  }

  /** The program reads the open file as its standard input: its command line names nothing, and the file stays the same one. */
  async #byZstd(program: string, file: FileHandle): Promise<Readable> {
    // No environment: ZSTD_CLEVEL and ZSTD_NBTHREADS would change what is measured.
    const child = spawn(program, ['-1', '-T1', '-c', '-q'], {
      stdio: [file.fd, 'pipe', 'ignore'],
      env: {},
    });
    this.#running.zstd += 1;
    const done = new Promise<void>((resolve, reject) => {
      child.on('error', reject);
      child.once('exit', (code, signal) => {
        if (code === 0) resolve();
        else reject(new Error(`zstd ended with ${signal ?? code}`));
      });
    }).finally(() => {
      this.#running.zstd -= 1;
    });
    // `flush` below reports a failure; until then it must not count as unhandled.
    done.catch(() => {});
    await once(child, 'spawn');
    const { stdout } = child;
    if (stdout === null) throw new Error('zstd has no output');
    // The program has a descriptor of its own now.
    await file.close();
    // The output of a program that died must not look complete.
    const whole = new Transform({
      transform: (chunk, _encoding, callback) => callback(null, chunk),
      flush: (callback) => {
        done.then(() => callback(), callback);
      },
    });
    pipeline(stdout, whole, () => child.kill('SIGKILL'));
    return whole;
  }
}
