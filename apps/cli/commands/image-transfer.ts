import type { Command } from 'commander';
import * as z from 'zod';
import { CliError } from '../cli-error.ts';
import { platformFlag } from '../platform-flag.ts';
import { localSource } from '../transfer/local-source.ts';
import type { CommandContext } from './context.ts';
import { addNotes, watchingExitCodes } from './notes.ts';

const importFlags = z.object({
  tar: z.string().optional(),
  name: z.string().optional(),
  ref: z.string().optional(),
  platform: z.string().optional(),
  size: z.string().optional(),
  detach: z.boolean().default(false),
  quiet: z.boolean().default(false),
});
const exportFlags = z.object({ output: z.string().optional(), force: z.boolean().default(false) });

/** `bhatti image import` and `export`: images from and to files. */
export function addImageTransferCommands(image: Command, context: CommandContext): void {
  addImport(image, context);
  addExport(image, context);
  addNotes(image, notes);
}

const notes = {
  import: {
    examples: [
      'bhatti image import ghcr.io/org/private:latest',
      'bhatti image import --tar image.tar --name app',
      'docker save app:1 | bhatti image import --tar - --name app-1',
    ],
    exitCodes: watchingExitCodes,
  },
  export: {
    examples: [
      'bhatti image export python-3.12',
      'bhatti image export python-3.12 -o disk.ext4 --force',
      'bhatti image export python-3.12 -o - | gzip > python.ext4.gz',
    ],
  },
};

function addImport(image: Command, { env, console, withClient }: CommandContext): void {
  image
    .command('import')
    .description('import an image from the local Docker, or from an archive that docker save wrote')
    .argument('[docker-ref]', 'image in the local Docker (or Podman, where there is no Docker)')
    .option('--tar <file>', 'import this archive instead (docker save, OCI layout or its directory; - reads stdin)')
    .option('--ref <reference>', 'which image of the archive, where it holds several (with --tar)')
    .option(
      '--name <name>',
      'name of the image here (default: derived from the reference, that of the archive with --tar)',
    )
    .option('--platform <platform>', 'platform to import from a multi-platform archive', platformFlag)
    .option('--size <size>', 'size of the file system, such as 2GB or 4GiB (default: content plus room to grow)')
    .option('-d, --detach', 'do not watch: print the task and return')
    .option('-q, --quiet', 'print the name of the image only')
    .action(async (reference: string | undefined, options: unknown, command: Command) => {
      const { tar, detach, quiet, ...request } = importFlags.parse(options);
      requireOneSource(reference, tar, request.ref);
      const { importImage } = await import('../transfer/import-command.ts');
      await withClient(command, (client, { json }) =>
        importImage(client, { reference, tar, env }, request, console, { json, detach, quiet }),
      );
    });
}

function addExport(image: Command, { console, withClient }: CommandContext): void {
  image
    .command('export')
    .description('write the ext4 file of an image to a local file; holes stay holes')
    .argument('<name>', 'name of the image')
    .option('-o, --output <file>', 'file to write (default: NAME.ext4; - for stdout)')
    .option('--force', 'overwrite an existing file')
    .action(async (name: string, options: unknown, command: Command) => {
      const { exportImage } = await import('../transfer/export-command.ts');
      await withClient(command, (client, { json }) =>
        exportImage(client, name, console, { ...exportFlags.parse(options), json }),
      );
    });
}

/** Throws CliError `invalid_request` unless there is either an image of the local Docker or an archive, of which `ref` may be given. */
function requireOneSource(reference: string | undefined, tar: string | undefined, ref: string | undefined): void {
  const source = tar === undefined && reference !== undefined ? localSource(reference) : undefined;
  if (source !== undefined) {
    throw new CliError('invalid_request', `${reference} names no image of the local Docker: ${source.is}`, {
      hint: `To import it: ${source.command}`,
    });
  }
  if ((reference === undefined) === (tar === undefined)) {
    throw new CliError('invalid_request', 'either a Docker image or --tar is needed', {
      hint: 'bhatti image import python:3.12, or bhatti image import --tar image.tar --name python-3.12',
    });
  }
  if (reference !== undefined && ref !== undefined) {
    throw new CliError('invalid_request', '--ref says which image of an archive is meant: it goes with --tar');
  }
}
