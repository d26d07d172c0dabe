import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, type FileHandle, constants as modes } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import { pipeline, type Readable, Transform } from 'node:stream';
import { constants, createGzip } from 'node:zlib';

/** A content coding (RFC 9110, 8.4.1; zstd: RFC 8878, 7.2). */
export type ContentCoding = 'zstd' | 'gzip';

/**
 * Compressions of one kind at the same time; who comes when all are under way gets the next kind, or the file as it is.
 * zlib works in Node's pool of 4 threads, which reading files and looking up names need as well; each zstd is a process
 * that takes a processor from the workers.
 */
const mostOfAKind = 2;

/** The file of the program `name` in the absolute folders of a PATH; null when there is none that can be run. */
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

/** Compresses root file systems on their way out. */
export class RootfsCompression {
  readonly #zstd: string | null;
  readonly #running: Record<ContentCoding, number> = { zstd: 0, gzip: 0 };

  /** @param zstd the path of the program; without it there is no zstd, for Node 20 has none (decision 015) */
  constructor(zstd: string | null) {
    this.#zstd = zstd;
  }

  /** What can begin now, the better one first. */
  get offered(): ContentCoding[] {
    const installed: ContentCoding[] = this.#zstd === null ? ['gzip'] : ['zstd', 'gzip'];
    return installed.filter((coding) => this.#running[coding] < mostOfAKind);
  }

  /**
   * The whole file, compressed. Destroying the stream ends the work; one that failed half-way fails the stream.
   *
   * @param file read from its start, not read from before; closed in the end, or left open when this throws
   * @throws the system's error when the program cannot be started
   */
  async compress(coding: ContentCoding, file: FileHandle): Promise<Readable> {
    if (coding === 'gzip') return this.#byGzip(file);
    if (this.#zstd === null) throw new Error('there is no zstd here');
    return this.#byZstd(this.#zstd, file);
  }

  #byGzip(file: FileHandle): Readable {
    const content = file.createReadStream({ highWaterMark: 1024 * 1024 });
    // Level 1: a root file system is halved by it at three times the speed of the default.
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
    // Told where the stream ends; until then it is nobody's failure.
    done.catch(() => {});
    await once(child, 'spawn');
    const { stdout } = child;
    if (stdout === null) throw new Error('zstd has no output');
    // Its own copy of the handle is open now.
    await file.close();
    // What a program that died has left unsaid must not look like the end.
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
