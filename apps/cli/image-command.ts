import { formatBytes } from '@bhatti/tasks';
import type { ApiClient } from './api-client.ts';
import type { Image } from './api-schema.ts';
import { CliError } from './cli-error.ts';
import { type Console, printJson } from './console.ts';
import { formatAge, formatTable, shortDigest } from './table.ts';

/** `bhatti image list`. */
export async function listImages(client: ApiClient, console: Console, json: boolean): Promise<number> {
  const images = await client.images();
  if (json) printJson(console, { images });
  else console.out(formatImages(images, Date.now()));
  return 0;
}

/** SIZE is what the image takes on disk: the file itself is sparse, with room to grow. */
export function formatImages(images: readonly Image[], now: number): string {
  return formatTable(
    ['NAME', 'REF', 'SIZE', 'CREATED', 'DIGEST'],
    images.map((image) => [
      image.name,
      image.ref,
      formatBytes(image.disk_bytes),
      formatAge(Date.parse(image.created_at), now),
      shortDigest(image.digest),
    ]),
  );
}

/** `bhatti image delete`: asks a person first; a script has to say `-y`. */
export async function deleteImage(
  client: ApiClient,
  name: string,
  console: Console,
  { yes, json }: { yes: boolean; json: boolean },
): Promise<number> {
  if (!yes && !(await confirm(`Delete image ${name}?`, console))) {
    console.err('not deleted\n');
    return 1;
  }
  await client.deleteImage(name);
  if (json) printJson(console, { name, deleted: true });
  else console.out(`deleted ${name}\n`);
  return 0;
}

async function confirm(question: string, console: Console): Promise<boolean> {
  if (!console.interactive) {
    throw new CliError('confirmation_needed', 'deleting needs a confirmation, and there is no terminal to ask on', {
      hint: 'Add -y to delete without being asked.',
    });
  }
  const { createInterface } = await import('node:readline/promises');
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^\s*y(es)?\s*$/i.test(await prompt.question(`${question} [y/N] `));
  } finally {
    prompt.close();
  }
}
