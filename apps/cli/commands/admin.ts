import type { Command } from 'commander';
import type { CommandContext } from './context.ts';
import { addNotes } from './notes.ts';

/** `bhatti admin …` */
export function addAdminCommands(program: Command, { console, withClient }: CommandContext): void {
  const admin = program.command('admin').description('look after a server').helpCommand(false);
  admin
    .command('status')
    .description('show the queue, the workers, the disk and Redis (admin token)')
    .action(async (_options: unknown, command: Command) => {
      const { showStatus } = await import('../admin-command.ts');
      await withClient(command, (client, { json }) => showStatus(client, console, json));
    });
  addNotes(admin, {
    status: { examples: ['bhatti admin status', 'bhatti admin status --json'] },
  });
}
