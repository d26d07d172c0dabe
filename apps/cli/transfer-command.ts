import { rename, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { formatBytes } from '@bhatti/tasks';
import type { ApiClient } from './api-client.ts';
import { UnreachableError } from './api-error.ts';
import type { ImportRequest } from './api-schema.ts';
import { archiveFile, savedImage } from './archive-source.ts';
import { CliError, systemErrorCode } from './cli-error.ts';
import { type Console, printJson } from './console.ts';
import { ExportDisplay } from './export-display.ts';
import {
  checkTarget,
  partialPath,
  partialSize,
  partialsOfBuilds,
  publishExport,
  removeOtherPartials,
  writeSparse,
} from './export-file.ts';
import { withExportLock } from './export-lock.ts';
import { interruptible } from './interruptible.ts';
import { layoutStep } from './progress-layout.ts';
import { type PullOutput, watchNewTask } from './pull-command.ts';
import { suggestingImage } from './suggestion.ts';

/** How often an export goes on after the connection broke without a byte more, and the pause before it does (ms). */
const EXPORT_ATTEMPTS = 5;
const EXPORT_PAUSE = 1000;

/** As `docker images` prints it, short or in full. */
const IMAGE_ID = /^(?:sha256:[0-9a-f]{12,64}|[0-9a-f]{12,64})$/;

export interface ImportSource {
  /** Image in the local Docker; undefined with `tar`. */
  readonly reference: string | undefined;
  readonly tar: string | undefined;
}

/** `bhatti image import`: sends an archive and watches the task that makes an image of it. */
export async function importImage(
  client: ApiClient,
  { reference, tar }: ImportSource,
  request: ImportRequest,
  console: Console,
  output: PullOutput,
): Promise<number> {
  const archive = tar === undefined ? await savedImage(reference ?? '') : await archiveFile(tar);
  let answer: Awaited<ReturnType<ApiClient['importImage']>>;
  try {
    if (!output.json && !output.quiet) showUpload(archive, console);
    // Saved by its id, an image has no name in the archive, and is the only one there.
    const named = reference !== undefined && !IMAGE_ID.test(reference);
    const sending = client.importImage(archive, { ...request, ...(named && { ref: reference }) });
    answer = await interruptible(sending, console, 'import', () => archive.readableEnded);
  } finally {
    archive.destroy();
    console.live([]);
  }
  if (output.json) {
    printJson(console, answer);
    return 0;
  }
  const source = reference ?? (tar === '-' ? 'stdin' : (tar ?? ''));
  return watchNewTask(
    client,
    { id: answer.task_id, name: answer.name, reference: source, verb: 'importing' },
    console,
    output,
  );
}

/** Draws how much has been sent, in place; a pipe is told nothing. */
function showUpload(archive: Readable, console: Console): void {
  if (!console.screen().terminal) return;
  let sent = 0;
  let drawnAt = Number.NEGATIVE_INFINITY;
  archive.on('data', (chunk: Buffer) => {
    sent += chunk.length;
    if (performance.now() - drawnAt < 200) return;
    drawnAt = performance.now();
    console.live(layoutStep({ line: `uploading (${formatBytes(sent)})...`, layers: [] }, console.screen()));
  });
  // Who listens starts the flow; the request has to be there first.
  archive.pause();
}

/** `bhatti image export`: the ext4 file, to a file (sparse, whole or not at all, resumed) or to stdout. */
export async function exportImage(
  client: ApiClient,
  name: string,
  console: Console,
  { output, force, json }: { output?: string; force: boolean; json: boolean },
): Promise<number> {
  if (output === '-') return exportToStdout(client, name, console);
  // A reference, which no name is: who is asked for it says what the image is called here.
  if (output === undefined && name.includes('/')) await suggestingImage(client, name, () => client.image(name));
  if (output?.endsWith('/')) throw new CliError('invalid_request', `${output} is a directory; -o takes a file`);
  const path = resolve(output ?? `${name}.ext4`);
  await checkTarget(path, force);
  const display = new ExportDisplay(console);
  const bytes = await withExportLock(path, () => download(client, name, path, display)).finally(() => display.close());
  if (json) printJson(console, { name, path, size_bytes: bytes });
  else console.out(`exported ${name} to ${output ?? `${name}.ext4`} (${formatBytes(bytes)})\n`);
  return 0;
}

async function exportToStdout(client: ApiClient, name: string, console: Console): Promise<number> {
  if (console.screen().terminal) {
    throw new CliError('invalid_request', 'an ext4 file does not go to a terminal', {
      hint: 'Send it to a file with -o FILE, or to a program: bhatti image export NAME -o - | gzip > NAME.ext4.gz',
    });
  }
  const { body } = await suggestingImage(client, name, () => client.rootfs(name));
  await pipeline(body, process.stdout, { end: false });
  return 0;
}

/** Resolves with the size in bytes. */
async function download(client: ApiClient, name: string, path: string, display: ExportDisplay): Promise<number> {
  let failures = 0;
  for (;;) {
    const { body, headers } = await suggestingImage(client, name, () => client.rootfs(name));
    const etag = headers.etag ?? '';
    const length = headers['content-length'];
    // What is between may have left the length out: then the end of the stream tells it, and nothing is gone on with.
    let size = length === undefined ? undefined : Number(length);
    const partial = partialPath(path, etag);
    if (await takeUpFormer(client, name, { path, partial, etag, body })) continue;
    await removeOtherPartials(path, partial);
    const from = etag === '' ? 0 : await partialSize(partial);
    const received = (bytes: number) => display.receive(bytes, size);
    try {
      if (size === undefined || from === 0 || from > size) {
        const end = await writeSparse(partial, body, 0, received);
        size ??= end;
      } else {
        body.destroy();
        // All of it may be there: what was interrupted then was the check.
        if (from < size && !(await continueExport(client, name, { partial, from, etag, received }))) {
          // The file is another by now, and is looked at anew; or something between sends no parts.
          failures += 1;
          if (failures >= EXPORT_ATTEMPTS) throw noParts(name);
          continue;
        }
      }
      const sha256 = /"?(?:sha256[:-])?([0-9a-f]{64})"?/.exec(etag)?.[1];
      display.check();
      await publishExport(partial, path, { size, sha256 });
      return size;
    } catch (error) {
      if (error instanceof CliError || !isBroken(error)) throw error;
      failures = (await partialSize(partial)) > from ? 1 : failures + 1;
      if (failures >= EXPORT_ATTEMPTS) {
        throw new CliError('server_unreachable', 'the connection to the server breaks again and again', {
          cause: error,
          hint: 'Run the same command later: it goes on where it stopped.',
        });
      }
      await delay(EXPORT_PAUSE);
    }
  }
}

interface ExportStart {
  readonly path: string;
  readonly partial: string;
  readonly etag: string;
  /** Of the answer that is at hand. */
  readonly body: Readable;
}

/**
 * What is there of an export that began before the SHA-256 of the image was taken has the tag in its name that the image had then. Where the
 * server takes that for the file of `etag`, it is gone on with. True when the server was asked: then the image is to be asked for anew.
 */
async function takeUpFormer(
  client: ApiClient,
  name: string,
  { path, partial, etag, body }: ExportStart,
): Promise<boolean> {
  const former = (await partialsOfBuilds(path)).find((one) => one.path !== partial);
  if (former === undefined || (await partialSize(partial)) > 0) return false;
  // An answer that is not read keeps the only connection.
  body.destroy();
  const taken = await client.rootfs(name, { from: 0, etag: former.etag });
  taken.body.destroy();
  if (taken.status === 206 && taken.headers.etag === etag) await rename(former.path, partial);
  else await rm(former.path, { force: true });
  return true;
}

interface ExportRest {
  readonly partial: string;
  readonly from: number;
  readonly etag: string;
  /** Told how many bytes are here. */
  readonly received: (bytes: number) => void;
}

/** False when the server does not send the rest alone. */
async function continueExport(
  client: ApiClient,
  name: string,
  { partial, from, etag, received }: ExportRest,
): Promise<boolean> {
  const rest = await client.rootfs(name, { from, etag });
  if (rest.status === 206) await writeSparse(partial, rest.body, from, received);
  else rest.body.destroy();
  return rest.status === 206;
}

function noParts(name: string): CliError {
  return new CliError('server_unreachable', `the rest of ${name} does not come: each time the whole file is sent`, {
    hint: 'A proxy before the server may not pass on Range; export past it, or to stdout with -o -.',
  });
}

function isBroken(error: unknown): boolean {
  const code = systemErrorCode(error);
  return error instanceof UnreachableError || code === 'ECONNRESET' || code === 'EPIPE' || code === 'ETIMEDOUT';
}
