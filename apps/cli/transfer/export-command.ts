import { createHash } from 'node:crypto';
import { rename, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { formatBytes } from '@bhatti/tasks';
import { CliError, systemErrorCode } from '../cli-error.ts';
import type { ApiClient } from '../server/api-client.ts';
import { AWAY_LIMIT, isTemporary } from '../server/api-error.ts';
import type { HttpAnswer } from '../server/http-connection.ts';
import { suggestingImage } from '../suggestion.ts';
import { type Console, printJson } from '../terminal/console.ts';
import { ExportDisplay } from './export-display.ts';
import {
  type Arrived,
  checkTarget,
  hashPartial,
  partialPath,
  partialSize,
  partialsOfBuilds,
  publishExport,
  removeOtherPartials,
  writeSparse,
} from './export-file.ts';
import { withExportLock } from './export-lock.ts';

/** Attempts in a row that bring no more bytes before an export gives up, and the pause between them (ms). */
const EXPORT_ATTEMPTS = 5;
const EXPORT_PAUSE = 1000;

/** `bhatti image export`: the ext4 file, to a file (sparse, whole or not at all, resumed) or to stdout. */
export async function exportImage(
  client: ApiClient,
  name: string,
  console: Console,
  { output, force, json }: { output?: string; force: boolean; json: boolean },
): Promise<number> {
  if (output === '-') return exportToStdout(client, name, console);
  // A name has no slash, so this is a reference: the server's error says what the image is called here.
  if (output === undefined && name.includes('/')) await suggestingImage(client, name, () => client.image(name));
  if (output?.endsWith('/')) throw new CliError('invalid_request', `${output} is a directory; -o takes a file`);
  const path = resolve(output ?? `${name}.ext4`);
  await checkTarget(path, force);
  const display = new ExportDisplay(console);
  const bytes = await withExportLock(path, () => download(client, name, { path, force }, display)).finally(() =>
    display.close(),
  );
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
  await pipeline(body, process.stdout, { end: false }).catch((error: unknown) => {
    throw isBroken(error) ? cutShort(error) : error;
  });
  return 0;
}

function cutShort(cause: unknown): CliError {
  return new CliError('server_unreachable', 'the connection to the server broke: what was written is not whole', {
    cause,
    hint: 'Discard it and run the same command again. To a file (-o FILE), an export goes on where it stopped.',
  });
}

/** Resolves with the size in bytes. */
async function download(
  client: ApiClient,
  name: string,
  { path, force }: { path: string; force: boolean },
  display: ExportDisplay,
): Promise<number> {
  let failures = 0;
  let brokeAt: number | undefined;
  for (;;) {
    const answer = await ask(client, name, brokeAt);
    if (answer === undefined) {
      await delay(EXPORT_PAUSE);
      continue;
    }
    const etag = answer.headers.etag ?? '';
    const partial = partialPath(path, etag);
    if (await takeUpFormer(client, name, { path, partial, etag, body: answer.body })) continue;
    await removeOtherPartials(path, partial);
    const from = etag === '' ? 0 : await partialSize(partial);
    try {
      const arrived = await receive(client, name, { answer, partial, etag, from, display });
      if (arrived !== undefined) {
        display.check();
        await publishExport(partial, path, { ...arrived, expected: /[0-9a-f]{64}/.exec(etag)?.[0], force });
        return arrived.size;
      }
      // The file has changed, so start over; or a proxy does not pass on ranges.
      failures += 1;
      if (failures >= EXPORT_ATTEMPTS) throw noParts(name);
    } catch (error) {
      if (error instanceof CliError || !isBroken(error)) throw error;
      failures = (await partialSize(partial)) > from ? 1 : failures + 1;
      if (failures >= EXPORT_ATTEMPTS) throw brokenOff(error);
      brokeAt = performance.now();
      await delay(EXPORT_PAUSE);
    }
  }
}

/** Resolves with undefined while a server is away that has broken off: one that restarts, perhaps. */
async function ask(client: ApiClient, name: string, brokeAt: number | undefined): Promise<HttpAnswer | undefined> {
  try {
    return await suggestingImage(client, name, () => client.rootfs(name));
  } catch (error) {
    if (brokeAt === undefined || !isTemporary(error)) throw error;
    if (performance.now() - brokeAt > AWAY_LIMIT) throw brokenOff(error);
    return undefined;
  }
}

interface ExportPart {
  /** That has begun, with the whole file. */
  readonly answer: HttpAnswer;
  readonly partial: string;
  readonly etag: string;
  /** Bytes that the partial file has already. */
  readonly from: number;
  readonly display: ExportDisplay;
}

/** Writes what the partial file lacks. Resolves with undefined if the server does not send the rest alone. */
async function receive(
  client: ApiClient,
  name: string,
  { answer, partial, etag, from, display }: ExportPart,
): Promise<Arrived | undefined> {
  const length = answer.headers['content-length'];
  // A proxy may have dropped the length: then the end of the stream gives it, and nothing can be resumed.
  const size = length === undefined ? undefined : Number(length);
  const received = (bytes: number) => display.receive(bytes, size);
  const hash = createHash('sha256');
  if (size === undefined || from === 0 || from > size) {
    const end = await writeSparse(partial, answer.body, { from: 0, hash, received });
    return { size: size ?? end, sha256: hash.digest('hex') };
  }
  answer.body.destroy();
  display.check();
  await hashPartial(partial, hash);
  // All bytes may be there, if it was the sync that was interrupted.
  if (from < size) {
    const rest = await client.rootfs(name, { from, etag });
    if (rest.status !== 206) {
      rest.body.destroy();
      return undefined;
    }
    await writeSparse(partial, rest.body, { from, hash, received });
  }
  return { size, sha256: hash.digest('hex') };
}

function brokenOff(cause: unknown): CliError {
  return new CliError('server_unreachable', 'the connection to the server breaks again and again', {
    cause,
    hint: 'Run the same command later: it goes on where it stopped.',
  });
}

interface ExportStart {
  readonly path: string;
  readonly partial: string;
  readonly etag: string;
  /** The body of the answer that has begun. */
  readonly body: Readable;
}

/**
 * Adopts the partial file of an export that began before the image's SHA-256 was known: it is named for the ETag of that time.
 * If the server confirms that this stands for the same bytes as `etag`, renames it to `partial`, else removes it. True if the
 * server was asked: then the answer at hand is gone, and the image has to be requested again.
 */
async function takeUpFormer(
  client: ApiClient,
  name: string,
  { path, partial, etag, body }: ExportStart,
): Promise<boolean> {
  const former = (await partialsOfBuilds(path)).find((one) => one.path !== partial);
  if (former === undefined || (await partialSize(partial)) > 0) return false;
  // An unread answer would keep the only connection busy.
  body.destroy();
  const taken = await client.rootfs(name, { from: 0, etag: former.etag });
  taken.body.destroy();
  if (taken.status === 206 && taken.headers.etag === etag) await rename(former.path, partial);
  else await rm(former.path, { force: true });
  return true;
}

function noParts(name: string): CliError {
  return new CliError('server_unreachable', `the rest of ${name} does not come: each time the whole file is sent`, {
    hint: 'A proxy before the server may not pass on Range; export past it, or to stdout with -o -.',
  });
}

function isBroken(error: unknown): boolean {
  const code = systemErrorCode(error);
  return isTemporary(error) || code === 'ECONNRESET' || code === 'EPIPE' || code === 'ETIMEDOUT';
}
