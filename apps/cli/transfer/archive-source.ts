import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { PassThrough, Readable } from 'node:stream';
import { CliError, systemErrorCode } from '../cli-error.ts';
import type { Upload } from '../server/http-connection.ts';
import { layoutDirectory } from './layout-directory.ts';
import { sourceOfTransport } from './local-source.ts';

/** A file, an OCI layout directory, or stdin for `-`. Rejects with CliError `not_found` for what cannot be read. */
export async function archiveFile(path: string): Promise<Upload> {
  if (path === '-') {
    if (process.stdin.isTTY) {
      throw new CliError('invalid_request', 'an archive from stdin is wanted, and stdin is a terminal', {
        hint: 'Pipe it in: docker save python:3.12 | bhatti image import --tar - --name python-3.12',
      });
    }
    return { stream: process.stdin };
  }
  try {
    const file = await open(path);
    const stats = await file.stat();
    // A pipe has no size, and is opened only once; nor have files that the kernel makes up.
    if (!stats.isDirectory() && stats.size === 0) return { stream: file.createReadStream() };
    await file.close();
    if (stats.isDirectory()) return { stream: await layoutDirectory(path) };
    return { stream: Readable.from(bytesOf(path, stats.size), { objectMode: false }), bytes: stats.size };
  } catch (error) {
    if (error instanceof CliError) throw error;
    const meant = sourceOfTransport(path);
    const isMissing = `cannot read the archive ${path} (${systemErrorCode(error) ?? String(error)})`;
    throw new CliError('not_found', meant === undefined ? isMissing : `${isMissing}: ${meant.is}`, {
      cause: error,
      hint:
        meant === undefined
          ? '--tar takes a file as docker save writes it, an OCI layout directory, or - for stdin.'
          : `To import it: ${meant.command}`,
    });
  }
}

/** Yields the first `bytes` bytes of the file, and throws CliError `import_failed` if it ends before. */
async function* bytesOf(path: string, bytes: number): AsyncGenerator<Buffer> {
  let left = bytes;
  for await (const chunk of createReadStream(path, { end: bytes - 1 })) {
    left -= chunk.length;
    yield chunk;
  }
  if (left > 0) {
    throw new CliError('import_failed', `${path} became shorter while it was sent: nothing is imported`, {
      hint: 'Does something still write it? Run the command again once it is whole.',
    });
  }
}

/**
 * The output of `docker save REF`, or of `podman save` where there is no docker. Resolves once the first bytes are here, so that
 * nothing is sent to the server for a missing image; the stream fails if the program fails later.
 */
export async function savedImage(reference: string, env: NodeJS.ProcessEnv): Promise<Upload> {
  // Docker would take it for a flag, or for no argument.
  if (/^(-|\s*$)/.test(reference)) {
    throw new CliError(
      'invalid_reference',
      `${JSON.stringify(reference)} is not an image reference, such as python:3.12`,
    );
  }
  const programs: readonly (readonly [string, readonly string[]])[] = [
    ['docker', ['save', reference]],
    ['podman', ['save', '--format', 'docker-archive', reference]],
  ];
  for (const [program, args] of programs) {
    const archive = await run(program, args, env, reference);
    if (archive !== undefined) return { stream: archive };
  }
  throw new CliError('docker_missing', 'neither docker nor podman is installed here, to save the image with', {
    hint:
      'Save it where they are and send the file: docker save -o image.tar IMAGE, then ' +
      'bhatti image import --tar image.tar --name NAME',
  });
}

/** Undefined when there is no such program. */
async function run(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  reference: string,
): Promise<Readable | undefined> {
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-2000);
  });
  try {
    await once(child, 'spawn');
  } catch (cause) {
    const code = systemErrorCode(cause);
    if (code === 'ENOENT') return undefined;
    throw new CliError('import_failed', `cannot run ${program} (${code})`, { cause });
  }
  const archive = new PassThrough();
  // Once nobody reads the output, the program is not needed either.
  archive.once('close', () => child.kill());
  child.stdout.pipe(archive, { end: false });
  child.once('close', (code) => {
    if (code === 0) archive.end();
    else archive.destroy(saveError(program, reference, said));
  });
  await Promise.race([once(archive, 'readable'), once(archive, 'end')]);
  return archive;
}

function saveError(program: string, reference: string, said: string): CliError {
  const last = said.trim().split('\n').at(-1);
  const unreachable = /cannot connect|permission denied|connection refused/i.test(said);
  return new CliError('import_failed', `${program} save ${reference} failed: ${last || 'it does not say why'}`, {
    hint: unreachable
      ? `Does it run here, and may you use it? Try: ${program} info`
      : `Is the image there? ${program} pull ${reference}`,
  });
}
