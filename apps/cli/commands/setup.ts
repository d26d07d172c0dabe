import type { Command } from 'commander';
import type { CommandContext } from './context.ts';
import { examples } from './examples.ts';

/** `bhatti setup` */
export function addSetupCommand(program: Command, { env, console, settingsOf, exit }: CommandContext): void {
  program
    .command('setup')
    .description('write the config file: which server to use, and the token for it')
    .addHelpText(
      'after',
      `\nAsks for what --url and BHATTI_TOKEN do not say, tries it, and writes ~/.bhatti/config.yaml (or BHATTI_CONFIG), readable by you only.\n${examples(
        'bhatti setup',
        'BHATTI_TOKEN=bht_... bhatti setup --url https://bhatti.example.com',
      )}`,
    )
    .action(async (_options: unknown, command: Command) => {
      const { setUp } = await import('../setup-command.ts');
      const { url, token } = command.optsWithGlobals<{ url?: string; token?: string }>();
      const { json } = await settingsOf(command);
      exit(await setUp({ url: url ?? env.BHATTI_URL, token: token ?? env.BHATTI_TOKEN }, env, console, json));
    });
}
