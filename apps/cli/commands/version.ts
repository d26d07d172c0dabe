import type { Command } from 'commander';
import type { CommandContext } from './context.ts';
import { addNotes } from './notes.ts';

/** `bhatti version` */
export function addVersionCommand(program: Command, { console, version, settingsOf, exit }: CommandContext): void {
  program
    .command('version')
    .description('print the version of this program and of the server, and whether they are compatible')
    .action(async (_options: unknown, command: Command) => {
      const { showVersion } = await import('../version-command.ts');
      exit(await showVersion(version, await settingsOf(command), console));
    });
  addNotes(program, {
    version: { examples: ['bhatti version', 'bhatti version --json'] },
  });
}
