import { type Command, Option } from 'commander';
import * as z from 'zod';
import { CliError } from '../cli-error.ts';
import { deleteImages, inspectImage, listImages, pruneImages, shareImage } from '../image-command.ts';
import { platformFlag } from '../platform-flag.ts';
import { pullImage } from '../pull-command.ts';
import { registryAuth } from '../registry-auth.ts';
import { localSource } from '../transfer/local-source.ts';
import type { CommandContext } from './context.ts';
import { addImageTransferCommands } from './image-transfer.ts';
import { addNotes, watchingExitCodes } from './notes.ts';

const pullFlags = z.object({
  name: z.string().optional(),
  auth: z.string().optional(),
  platform: z.string().optional(),
  size: z.string().optional(),
  force: z.boolean().optional(),
  detach: z.boolean().default(false),
  quiet: z.boolean().default(false),
});
const ownerFlags = z.object({ owner: z.string().optional() });
const listFlags = z.object({ quiet: z.boolean().default(false) });
const sureFlags = z.object({ yes: z.boolean().default(false), force: z.boolean().default(false) });
const deleteFlags = sureFlags.extend(ownerFlags.shape);
const pruneFlags = sureFlags.extend({ dryRun: z.boolean().default(false) });

/** What people who come from Docker type for `-y`. */
const forceOption = () => new Option('-f, --force').hideHelp();
const ownerOption = ['--owner <name>', 'the user whose image is meant (admin token)'] as const;

/** `bhatti image …` */
export function addImageCommands(program: Command, context: CommandContext): void {
  const image = program.command('image').description('pull and manage images').helpCommand(false);
  addPull(image, context);
  addList(image, context);
  addInspect(image, context);
  addDelete(image, context);
  addShare(image, context, true);
  addShare(image, context, false);
  addPrune(image, context);
  addNotes(image, notes);
  addImageTransferCommands(image, context);
}

const notes = {
  pull: {
    examples: [
      'bhatti image pull python:3.12',
      'bhatti image pull node:22-slim --name node-22',
      'bhatti image pull ubuntu:24.04 --size 8GB --detach',
      'bhatti image pull ghcr.io/org/app:1 --auth - < credentials',
    ],
    exitCodes: watchingExitCodes,
  },
  list: { examples: ['bhatti image list', 'bhatti image ls -q', "bhatti image ls --json | jq -r '.images[].name'"] },
  inspect: { examples: ['bhatti image inspect python-3.12', 'bhatti image inspect python-3.12 --json'] },
  delete: { examples: ['bhatti image delete node-22', 'bhatti image rm -y node-22'] },
  share: { examples: ['bhatti image share python-3.12', 'bhatti image share app-1 --owner ann'] },
  unshare: { examples: ['bhatti image unshare python-3.12'] },
  prune: { examples: ['bhatti image prune --dry-run', 'bhatti image prune -y'] },
};

function addPull(image: Command, { env, console, withClient }: CommandContext): void {
  image
    .command('pull')
    .description('pull an image from a registry; Ctrl+C detaches, the pull goes on')
    .argument('<ref>', 'image reference, as Docker means it')
    .option('--name <name>', 'name of the image here (default: derived from the reference)')
    .option('--auth <user:token>', 'credentials for the registry; - asks, or reads stdin (BHATTI_REGISTRY_AUTH)')
    .option(
      '--platform <platform>',
      'platform of a multi-platform image, such as linux/arm64 or linux/arm/v7 (default: linux on the architecture of the server)',
      platformFlag,
    )
    .option('--size <size>', 'size of the file system, such as 2GB or 4GiB (default: content plus room to grow)')
    .option('--force', 'pull again even if this digest is already there')
    .option('-d, --detach', 'do not watch: print the task and return')
    .option('-q, --quiet', 'print the name of the image only')
    .action(async (ref: string, options: unknown, command: Command) => {
      const { auth: authFlag, detach, quiet, ...flags } = pullFlags.parse(options);
      const source = localSource(ref);
      if (source !== undefined) {
        throw new CliError('invalid_reference', `${ref} names no image of a registry: ${source.is}`, {
          hint: `To import it: ${source.command}`,
        });
      }
      const auth = await registryAuth(authFlag, env, console);
      await withClient(command, (client, { json }) =>
        pullImage(client, { ref, ...flags, ...(auth !== undefined && { auth }) }, console, { json, detach, quiet }),
      );
    });
}

function addList(image: Command, { console, withClient }: CommandContext): void {
  image
    .command('list')
    .alias('ls')
    .description('list the images')
    .option('-q, --quiet', 'print the names only')
    .action((options: unknown, command: Command) => {
      const { quiet } = listFlags.parse(options);
      return withClient(command, (client, { json }) => listImages(client, console, { quiet, json }));
    });
}

function addInspect(image: Command, { console, withClient }: CommandContext): void {
  image
    .command('inspect')
    .description('show everything about an image')
    .argument('<name>', 'name of the image')
    .option(...ownerOption)
    .action((name: string, options: unknown, command: Command) => {
      const { owner } = ownerFlags.parse(options);
      return withClient(command, (client, { json }) => inspectImage(client, name, console, { owner, json }));
    });
}

function addDelete(image: Command, { console, withClient }: CommandContext): void {
  image
    .command('delete')
    .aliases(['rm', 'remove', 'rmi'])
    .description('delete images')
    .argument('<name...>', 'names of the images')
    .option('-y, --yes', 'do not ask for confirmation')
    .addOption(forceOption())
    .option(...ownerOption)
    .action((names: string[], options: unknown, command: Command) => {
      const { yes, force, owner } = deleteFlags.parse(options);
      return withClient(command, (client, { json }) =>
        deleteImages(client, names, console, { yes: yes || force, owner, json }),
      );
    });
}

/** `share`, or `unshare`. */
function addShare(image: Command, { console, withClient }: CommandContext, shared: boolean): void {
  image
    .command(shared ? 'share' : 'unshare')
    .description(shared ? 'let every user see and use an image (admin token)' : 'stop sharing an image (admin token)')
    .argument('<name>', 'name of the image')
    .option(...ownerOption)
    .action((name: string, options: unknown, command: Command) => {
      const { owner } = ownerFlags.parse(options);
      return withClient(command, (client, { json }) => shareImage(client, name, console, { shared, owner, json }));
    });
}

function addPrune(image: Command, { console, withClient }: CommandContext): void {
  image
    .command('prune')
    .description('remove cached layers and whatever else no image and no running task needs (admin token)')
    .option('-y, --yes', 'do not ask for confirmation')
    .addOption(forceOption())
    .option('--dry-run', 'remove nothing, show what would be removed')
    .action((options: unknown, command: Command) => {
      const { yes, force, dryRun } = pruneFlags.parse(options);
      return withClient(command, (client, { json }) =>
        pruneImages(client, console, { yes: yes || force, dryRun, json }),
      );
    });
}
