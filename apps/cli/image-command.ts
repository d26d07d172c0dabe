import { formatBytes } from '@bhatti/tasks';
import { CliError } from './cli-error.ts';
import { forEach } from './for-each.ts';
import type { ApiClient } from './server/api-client.ts';
import type { Image, Pruned } from './server/api-schema.ts';
import { suggestingImage } from './suggestion.ts';
import { type Console, printJson } from './terminal/console.ts';
import { askLine } from './terminal/prompt.ts';
import { formatAge, formatFields, formatTable, shortDigest } from './terminal/table.ts';

/** `bhatti image list`. */
export async function listImages(
  client: ApiClient,
  console: Console,
  { quiet, json }: { quiet: boolean; json: boolean },
): Promise<number> {
  const images = await client.images();
  if (json) printJson(console, { images });
  else if (quiet) console.out(images.map(({ name }) => `${name}\n`).join(''));
  else console.out(formatImages(images, Date.now()));
  return 0;
}

/** SIZE is what the image takes on disk: the file itself is sparse, with room to grow. OWNER is shown if there are several. */
export function formatImages(images: readonly Image[], now: number): string {
  const withOwner = new Set(images.map(({ owner }) => owner)).size > 1;
  return formatTable(
    ['NAME', ...(withOwner ? ['OWNER'] : []), 'REF', 'SIZE', 'CREATED', 'DIGEST'],
    images.map((image) => [
      image.name,
      ...(withOwner ? [image.owner ?? ''] : []),
      image.ref,
      formatBytes(image.disk_bytes),
      formatAge(Date.parse(image.created_at), now),
      shortDigest(image.digest),
    ]),
  );
}

/** `bhatti image inspect`: everything about one image. `--json` prints the answer of the API, config and all. */
export async function inspectImage(
  client: ApiClient,
  name: string,
  console: Console,
  { owner, json }: { owner: string | undefined; json: boolean },
): Promise<number> {
  const image = await suggestingImage(client, name, () => client.image(name, owner));
  if (json) printJson(console, image);
  else console.out(formatImage(image));
  return 0;
}

/** An image as `name value` lines; missing values are left out. */
function formatImage(image: Image): string {
  const { entrypoint = [], cmd = [], user, workingDir } = image.config ?? {};
  return formatFields([
    ['name', image.name],
    ['ref', image.ref],
    ['digest', image.digest],
    ['platform', image.platform],
    ['size', `${formatBytes(image.size_bytes)} (${formatBytes(image.disk_bytes)} on disk)`],
    ['sha256', image.sha256],
    ['created', image.created_at],
    ['path', image.path],
    ['entrypoint', entrypoint.length > 0 && JSON.stringify(entrypoint)],
    ['command', cmd.length > 0 && JSON.stringify(cmd)],
    ['user', user],
    ['directory', workingDir],
    ...image.warnings.map((warning) => ['warning', warning] as const),
  ]);
}

/** `bhatti image delete`: asks a person first; a script needs `-y`. Goes on when one cannot be deleted. */
export async function deleteImages(
  client: ApiClient,
  names: readonly string[],
  console: Console,
  { yes, owner, json }: { yes: boolean; owner: string | undefined; json: boolean },
): Promise<number> {
  const question = `Delete ${names.length === 1 ? 'image' : `${names.length} images:`} ${names.join(', ')}?`;
  if (!yes && !(await confirm(question, console))) {
    console.err('not deleted\n');
    return 1;
  }
  return forEach(names, console, async (name) => {
    await suggestingImage(client, name, () => client.deleteImage(name, owner));
    if (json) printJson(console, { name, deleted: true });
    else console.out(`deleted ${name}\n`);
  });
}

/** `bhatti image share` and `unshare`. */
export async function shareImage(
  client: ApiClient,
  name: string,
  console: Console,
  { shared, owner, json }: { shared: boolean; owner: string | undefined; json: boolean },
): Promise<number> {
  const image = await suggestingImage(client, name, () => client.shareImage(name, shared, owner));
  if (json) printJson(console, image);
  else console.out(shared ? `shared ${name} with everybody\n` : `${name} is its owner's alone\n`);
  return 0;
}

/** `bhatti image prune`: asks a person first, as `deleteImage` does. */
export async function pruneImages(
  client: ApiClient,
  console: Console,
  { yes, dryRun, json }: { yes: boolean; dryRun: boolean; json: boolean },
): Promise<number> {
  const question = 'Remove cached layers and whatever else no image and no running task needs?';
  if (!dryRun && !yes && !(await confirm(question, console))) {
    console.err('nothing removed\n');
    return 1;
  }
  const pruned = await client.prune(dryRun);
  if (json) printJson(console, pruned);
  else console.out(formatPruned(pruned, dryRun));
  return 0;
}

function formatPruned({ freed_bytes, layers, rootfs, downloads }: Pruned, dryRun: boolean): string {
  const what = [`layers: ${layers}`, `root filesystems: ${rootfs}`, `downloads: ${downloads}`].join(', ');
  return `${dryRun ? 'would free' : 'freed'} ${formatBytes(freed_bytes)} (${what})\n`;
}

async function confirm(question: string, console: Console): Promise<boolean> {
  if (!console.interactive) {
    throw new CliError('confirmation_needed', 'deleting needs a confirmation, and there is no terminal to ask on', {
      hint: 'Add -y to delete without being asked.',
    });
  }
  return /^\s*y(es)?\s*$/i.test(await askLine(`${question} [y/N] `));
}
