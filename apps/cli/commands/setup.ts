import type { Command } from 'commander';
import { globalFlags } from '../settings.ts';
import type { CommandContext } from './context.ts';
import { addNotes } from './notes.ts';

/** `bhatti setup` */
export function addSetupCommand(program: Command, { env, console, exit }: CommandContext): void {
  program
    .command('setup')
    .description('write the config file: which server to use, and the token for it')
    .action(async (_options: unknown, command: Command) => {
      const { setUp } = await import('../setup-command.ts');
      // Not the settings: the config file may not be there yet.
      const { url, token, json = false } = globalFlags.parse(command.optsWithGlobals());
      exit(await setUp({ url: url ?? env.BHATTI_URL, token: token ?? env.BHATTI_TOKEN }, env, console, json));
    });
  addNotes(program, {
    setup: {
      more: [
        'Asks for what --url and BHATTI_TOKEN do not give, tries it, and writes ~/.bhatti/config.yaml (or BHATTI_CONFIG), readable by you only.',
      ],
      examples: ['bhatti setup', 'BHATTI_TOKEN=bht_... bhatti setup --url https://bhatti.example.com'],
    },
  });
}
