import { type Command, InvalidArgumentError, Option } from 'commander';
import * as z from 'zod';
import type { CommandContext } from './context.ts';
import { addNotes } from './notes.ts';

const serveFlags = z.object({
  detach: z.boolean().default(false),
  workers: z.number().optional(),
  role: z.enum(['api', 'worker']).optional(),
  listen: z.string().optional(),
});

/** `bhatti serve …`: the local stack, whose code is loaded only when needed. */
export function addServeCommands(program: Command, { env, console, settingsOf, exit }: CommandContext): void {
  const serve = program
    .command('serve')
    .helpCommand(false)
    .description('run the server: Redis (unless REDIS_URL is set), the API and workers')
    .option('--detach', 'run in the background; returns when it is healthy')
    .option('--workers <count>', 'worker processes (default: 1)', parseCount)
    .addOption(new Option('--role <role>', 'run only this part, for several hosts').choices(['api', 'worker']))
    .option(
      '--listen <host:port>',
      'where the API listens (BHATTI_LISTEN; default: 127.0.0.1:8080; none: unix socket only)',
      parseListen,
    )
    .action(async (options: unknown, command: Command) => {
      const settings = await settingsOf(command);
      const { serveCommand } = await import('../serve/serve-command.ts');
      exit(await serveCommand(serveFlags.parse(options), settings, env, console));
    });
  serve
    .command('status')
    .description('show whether the server runs, and how to reach it')
    .action(async (_options: unknown, command: Command) => {
      const { serveStatus } = await import('../serve/serve-command.ts');
      exit(await serveStatus(await settingsOf(command), console));
    });
  serve
    .command('stop')
    .description('stop the server')
    .action(async (_options: unknown, command: Command) => {
      const { serveStop } = await import('../serve/serve-command.ts');
      exit(await serveStop(await settingsOf(command), console));
    });
  addNotes(program, {
    serve: {
      more: ['In the foreground it runs until Ctrl+C, which gives the tasks under way back to the queue.'],
      examples: [
        'bhatti serve --workers 2',
        'bhatti serve --detach',
        'REDIS_URL=redis://10.0.0.5 bhatti serve --role worker --workers 2',
      ],
    },
  });
  addNotes(serve, {
    status: { examples: ['bhatti serve status', 'bhatti serve status --json'] },
    stop: { examples: ['bhatti serve stop'] },
  });
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > 256) throw new InvalidArgumentError('It must be 1 to 256.');
  return count;
}

/** The API would refuse the same, but only after Redis and workers have been started. */
function parseListen(text: string): string {
  const [, port] = /^(?:\[[0-9a-fA-F:.]+\]|[^:[\]\s/*]*):([0-9]{1,5})$/.exec(text) ?? [];
  if (text === 'none' || (port !== undefined && Number(port) <= 65_535)) return text;
  throw new InvalidArgumentError('It must be host:port, as 127.0.0.1:8080 (0.0.0.0:8080 for every address), or none.');
}
