import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MAXIMUM_SIZE_BYTES, MINIMUM_SIZE_BYTES, wholeBlocks } from '@bhatti/rootfs';
import { parseBytes } from '@bhatti/tasks';
import { type Command, InvalidArgumentError } from 'commander';
import * as z from 'zod';
import { CliError } from '../cli-error.ts';
import { platformFlag } from '../platform-flag.ts';
import type { BuildRequest } from '../rootfs/request.ts';
import type { CommandContext } from './context.ts';
import { addNotes } from './notes.ts';

const buildFlags = z.object({
  output: z.string(),
  size: z.number().optional(),
  overlay: z.string().optional(),
  image: z.string().optional(),
  platform: z.string().optional(),
});

/** `bhatti rootfs …`: what the server does to layers, for local files and without it. */
export function addRootfsCommands(program: Command, { env, settingsOf, exit }: CommandContext): void {
  const rootfs = program.command('rootfs').description('build root filesystems without a server').helpCommand(false);
  rootfs
    .command('build')
    .description(
      'build an ext4 root filesystem from the tars of layers, bottom first, or from an image in a file or folder',
    )
    .argument('<source...>', 'tars (plain, gzip or zstd); or one image: what docker save writes, an OCI layout')
    .requiredOption('-o, --output <file>', 'the ext4 file to write; it must not exist yet')
    .option(
      '--size <size>',
      'size of the file system, such as 2GB or 4GiB (default: content plus room to grow)',
      parseSize,
    )
    .option('--overlay <tar>', 'one more layer, applied last')
    .option('--image <name>', 'which image of an archive or layout that holds several')
    .option('--platform <platform>', 'platform of a multi-platform image', platformFlag)
    .action(async (sources: string[], options: unknown, command: Command) => {
      const { output, size, overlay, image, platform } = buildFlags.parse(options);
      if (output === '-') {
        throw new CliError(
          'invalid_request',
          'an ext4 is written here and there, not from its start to its end: -o takes a file',
        );
      }
      const request: BuildRequest = {
        sources: sources.map((source) => resolve(source)),
        output: resolve(output),
        overlay: overlay === undefined ? undefined : resolve(overlay),
        sizeBytes: size,
        image,
        platform,
        json: (await settingsOf(command)).json,
      };
      exit(await runProgram(request, env));
    });
  addNotes(rootfs, {
    build: {
      examples: [
        'bhatti rootfs build base.tar app.tar.gz -o app.ext4',
        'bhatti rootfs build ./layout -o image.ext4 --size 200MB',
      ],
    },
  });
}

/** Runs the program in a process of its own. Signals that stop this process stop that one, which cleans up. */
async function runProgram(request: BuildRequest, env: NodeJS.ProcessEnv): Promise<number> {
  const directory = import.meta.url.endsWith('.ts') ? '../../../dist/' : './';
  const program = fileURLToPath(new URL(`${directory}rootfs.js`, import.meta.url));
  const child = spawn(process.execPath, [program, JSON.stringify(request)], { stdio: 'inherit', env });
  // Ctrl+C reaches both: the child reacts to it.
  process.on('SIGINT', () => undefined);
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  const [code, signal] = await once(child, 'close');
  if (typeof code === 'number') return code;
  // While it is still loading, such a signal kills it.
  if (['SIGINT', 'SIGTERM', 'SIGHUP'].includes(signal)) return 130;
  throw new CliError('out_of_resources', `the build was ended by ${signal}`, {
    hint: 'SIGKILL is what the kernel does where memory runs out; its log says so. Folders .bhatti-rootfs-* beside the output are left of it: remove them.',
  });
}

/** Parses a size to bytes as the API does: whole blocks, 16 MiB to 16 TiB. */
function parseSize(text: string): number {
  const given = parseBytes(text);
  if (given === null) throw new InvalidArgumentError('It is not a size; use 2GB, 512MB, 4GiB or a number of bytes.');
  const bytes = wholeBlocks(given);
  if (bytes < MINIMUM_SIZE_BYTES || bytes > MAXIMUM_SIZE_BYTES)
    throw new InvalidArgumentError('It must be 16MiB to 16TiB.');
  return bytes;
}
