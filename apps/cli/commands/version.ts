import type { Command } from 'commander';
import { printJson } from '../console.ts';
import type { CommandContext } from './context.ts';

/** `bhatti version` */
export function addVersionCommand(program: Command, { console, version, settingsOf }: CommandContext): void {
  program
    .command('version')
    .description('print the version')
    .action(async (_options: unknown, command: Command) => {
      if ((await settingsOf(command)).json) printJson(console, { version });
      else console.out(`bhatti ${version}\n`);
    });
}
