import type { Readable } from 'node:stream';
import { formatBytes } from '@bhatti/tasks';
import { type PullOutput, watchNewTask } from '../pull-command.ts';
import type { ApiClient } from '../server/api-client.ts';
import type { ImportRequest } from '../server/api-schema.ts';
import { type Console, printJson } from '../terminal/console.ts';
import { interruptible } from '../terminal/interruptible.ts';
import { layoutStep } from '../terminal/progress-layout.ts';
import { archiveFile, savedImage } from './archive-source.ts';

/** An image id as `docker images` prints it, short or in full, or a reference with a digest. */
const NAMELESS = /^(?:sha256:[0-9a-f]{12,64}|[0-9a-f]{12,64})$|@sha256:[0-9a-f]{64}$/;

export interface ImportSource {
  /** Image in the local Docker; undefined with `tar`. */
  readonly reference: string | undefined;
  readonly tar: string | undefined;
  /** Of the Docker that saves the image. */
  readonly env: NodeJS.ProcessEnv;
}

/** `bhatti image import`: sends an archive and watches the task that makes an image of it. */
export async function importImage(
  client: ApiClient,
  { reference, tar, env }: ImportSource,
  request: ImportRequest,
  console: Console,
  output: PullOutput,
): Promise<number> {
  const archive = tar === undefined ? await savedImage(reference ?? '', env) : await archiveFile(tar);
  let answer: Awaited<ReturnType<ApiClient['importImage']>>;
  try {
    if (!output.json && !output.quiet) showUpload(archive.stream, console);
    const sending = client.importImage(archive, { ...namesOf(reference), ...request });
    answer = await interruptible(sending, console, 'import', () => archive.stream.readableEnded);
  } finally {
    archive.stream.destroy();
    console.live([]);
  }
  if (output.json) {
    printJson(console, answer);
    return 0;
  }
  const source = reference ?? (tar === '-' ? 'stdin' : (tar ?? ''));
  return watchNewTask(
    client,
    { type: 'import', id: answer.task_id, name: answer.name, reference: source },
    console,
    output,
  );
}

/** What to ask for of an image that the local Docker saved: by id or digest, it has no name in the archive, and is the only one there. */
function namesOf(reference: string | undefined): Pick<ImportRequest, 'ref' | 'origin'> {
  if (reference === undefined) return {};
  if (!NAMELESS.test(reference)) return { ref: reference };
  return reference.includes('@') ? { origin: reference } : {};
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
