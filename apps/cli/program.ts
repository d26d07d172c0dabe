import { Command, InvalidArgumentError, Option } from 'commander';
import { z } from 'zod';
import type { ApiClient } from './api-client.ts';
import { readConfigFiles } from './config-file.ts';
import { connect } from './connection.ts';
import { type Console, printJson } from './console.ts';
import { deleteImage, inspectImage, listImages } from './image-command.ts';
import { pullImage, watchTask } from './pull-command.ts';
import { registryAuth } from './registry-auth.ts';
import { resolveSettings, type Settings } from './settings.ts';
import { cancelTask, showTask } from './task-command.ts';
import { formatRequestTiming, formatTotalTiming } from './timing.ts';

const globalFlags = z.object({
  url: z.string().optional(),
  token: z.string().optional(),
  dataDir: z.string().optional(),
  json: z.boolean().optional(),
  timing: z.boolean().optional(),
});
const pullFlags = z.object({
  name: z.string().optional(),
  auth: z.string().optional(),
  platform: z.string().optional(),
  size: z.string().optional(),
  force: z.boolean().optional(),
  detach: z.boolean().default(false),
  quiet: z.boolean().default(false),
});
const deleteFlags = z.object({ yes: z.boolean().default(false) });
const serveFlags = z.object({
  detach: z.boolean().default(false),
  workers: z.number().default(1),
  role: z.enum(['api', 'worker']).optional(),
  listen: z.string().optional(),
});

/** Runs the command line `argv` (without node and script). Resolves with the exit code. */
export async function runCommandLine(
  argv: readonly string[],
  { env, console, version }: { env: NodeJS.ProcessEnv; console: Console; version: string },
): Promise<number> {
  let exitCode = 0;

  const settingsOf = async (command: Command): Promise<Settings> =>
    resolveSettings(globalFlags.parse(command.optsWithGlobals()), await readConfigFiles(env), env);

  /** Runs `action` with a client of the server in use, and closes it. */
  const withClient = async (
    command: Command,
    action: (client: ApiClient, settings: Settings) => Promise<number>,
  ): Promise<void> => {
    const settings = await settingsOf(command);
    const startedAt = performance.now();
    const onTiming = (timing: Parameters<typeof formatRequestTiming>[0]) => console.err(formatRequestTiming(timing));
    const client = await connect(settings, settings.timing ? { onTiming } : {});
    try {
      exitCode = await action(client, settings);
    } finally {
      if (settings.timing) console.err(formatTotalTiming(startedAt, performance.now()));
      client.close();
    }
  };

  const program = new Command('bhatti')
    .description('Pull OCI images into ext4 root filesystems that boot.')
    .version(version, '--version', 'print the version')
    .option('--url <url>', 'the server to use (BHATTI_URL; default: the local one, which is started when needed)')
    .option('--token <token>', 'the API token for it (BHATTI_TOKEN)')
    .option('--data-dir <directory>', 'where the local server keeps everything (BHATTI_DATA_DIR)')
    .option('--json', 'print JSON')
    .option('--timing', 'print to stderr where the time went')
    .helpOption('-h, --help', 'print help')
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('Run with --help for the usage.');

  const image = program.command('image').description('pull and manage images').helpCommand(false);
  image
    .command('pull')
    .description('pull an image from a registry; Ctrl+C detaches, the pull goes on')
    .argument('<ref>', 'image reference, as Docker means it')
    .option('--name <name>', 'name of the image here (default: derived from the reference)')
    .option('--auth <user:token>', 'credentials for the registry; - reads them from stdin (BHATTI_REGISTRY_AUTH)')
    .option(
      '--platform <platform>',
      'platform of a multi-platform image (default: linux on the architecture of the server)',
    )
    .option('--size <size>', 'size of the filesystem, as 2GB or 4GiB (default: content plus room to grow)')
    .option('--force', 'pull again although the very digest is there')
    .option('-d, --detach', 'do not watch: print the task and end')
    .option('-q, --quiet', 'print the name of the image only')
    .addHelpText(
      'after',
      '\nExamples:\n  $ bhatti image pull python:3.12\n  $ bhatti image pull node:22-slim --name node-22\n' +
        '  $ bhatti image pull ghcr.io/org/app:1 --auth - < credentials',
    )
    .action(async (ref: string, options: unknown, command: Command) => {
      const { auth: authFlag, detach, quiet, ...flags } = pullFlags.parse(options);
      const auth = await registryAuth(authFlag, env, process.stdin);
      await withClient(command, (client, { json }) =>
        pullImage(client, { ref, ...flags, ...(auth !== undefined && { auth }) }, console, {
          json,
          detach,
          quiet,
        }),
      );
    });
  image
    .command('list')
    .alias('ls')
    .description('list the images')
    .action((_options: unknown, command: Command) =>
      withClient(command, (client, { json }) => listImages(client, console, json)),
    );
  image
    .command('inspect')
    .description('show everything about an image')
    .argument('<name>', 'name of the image')
    .action((name: string, _options: unknown, command: Command) =>
      withClient(command, (client, { json }) => inspectImage(client, name, console, json)),
    );
  image
    .command('delete')
    .alias('rm')
    .description('delete an image')
    .argument('<name>', 'name of the image')
    .option('-y, --yes', 'do not ask')
    .action((name: string, options: unknown, command: Command) =>
      withClient(command, (client, { json }) =>
        deleteImage(client, name, console, { yes: deleteFlags.parse(options).yes, json }),
      ),
    );

  const task = program.command('task').description('look at and cancel pulls').helpCommand(false);
  task
    .command('show')
    .description('show how far a task is, or how it ended')
    .argument('<id>', 'task id, as printed by the pull')
    .action((id: string, _options: unknown, command: Command) =>
      withClient(command, (client, { json }) => showTask(client, id, console, json)),
    );
  task
    .command('watch')
    .description('print the progress of a task until it ends, as image pull does; Ctrl+C detaches')
    .argument('<id>', 'task id, as printed by the pull')
    .action((id: string, _options: unknown, command: Command) =>
      withClient(command, (client, { json }) => watchTask(client, id, console, json)),
    );
  task
    .command('cancel')
    .description('cancel a task')
    .argument('<id>', 'task id, as printed by the pull')
    .action((id: string, _options: unknown, command: Command) =>
      withClient(command, (client, { json }) => cancelTask(client, id, console, json)),
    );

  const serve = program
    .command('serve')
    .helpCommand(false)
    .description('run the server: Redis (unless REDIS_URL is set), the API and workers')
    .option('--detach', 'run in the background; returns when it is healthy')
    .option('--workers <count>', 'worker processes (default: 1)', parseCount)
    .addOption(new Option('--role <role>', 'run only this part, on a host of its own').choices(['api', 'worker']))
    .option(
      '--listen <host:port>',
      'where the API listens (BHATTI_LISTEN; default: 127.0.0.1:8080; none: unix socket only)',
    )
    .action(async (options: unknown, command: Command) => {
      const settings = await settingsOf(command);
      const { serveCommand } = await import('./serve/serve-command.ts');
      exitCode = await serveCommand(serveFlags.parse(options), settings, env, console);
    });
  serve
    .command('status')
    .description('show whether the server runs, and how to reach it')
    .action(async (_options: unknown, command: Command) => {
      const { serveStatus } = await import('./serve/serve-command.ts');
      exitCode = await serveStatus(await settingsOf(command), console);
    });
  serve
    .command('stop')
    .description('stop the server')
    .action(async (_options: unknown, command: Command) => {
      const { serveStop } = await import('./serve/serve-command.ts');
      exitCode = await serveStop(await settingsOf(command), console);
    });

  program
    .command('version')
    .description('print the version')
    .action((_options: unknown, command: Command) => {
      if (globalFlags.parse(command.optsWithGlobals()).json) printJson(console, { version });
      else console.out(`bhatti ${version}\n`);
    });

  await program.parseAsync(argv, { from: 'user' });
  return exitCode;
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > 256) throw new InvalidArgumentError('It must be 1 to 256.');
  return count;
}
