import type { Command } from 'commander';
import { watchTask } from '../pull-command.ts';
import { cancelTask, showTask } from '../task-command.ts';
import type { CommandContext } from './context.ts';

/** `bhatti task …` */
export function addTaskCommands(program: Command, { console, withClient }: CommandContext): void {
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
}
