import { type Command, InvalidArgumentError, Option } from 'commander';
import * as z from 'zod';
import { watchTask } from '../pull-command.ts';
import { taskStatus } from '../server/api-schema.ts';
import { cancelTasks, listTasks, showTask } from '../task-command.ts';
import type { CommandContext } from './context.ts';
import { addNotes, watchingExitCodes } from './notes.ts';

const listFlags = z.object({ status: taskStatus.optional(), limit: z.number(), quiet: z.boolean().default(false) });

/** `bhatti task …` */
export function addTaskCommands(program: Command, { console, withClient }: CommandContext): void {
  const task = program.command('task').description('show, watch and cancel tasks').helpCommand(false);
  task
    .command('list')
    .alias('ls')
    .description('list the tasks: those under way, then ended ones, newest first')
    .addOption(new Option('--status <status>', 'only tasks with this status').choices(taskStatus.options))
    .option('--limit <count>', 'show at most this many', parseLimit, 30)
    .option('-q, --quiet', 'print the ids only')
    .action((options: unknown, command: Command) => {
      const { quiet, ...filter } = listFlags.parse(options);
      return withClient(command, (client, { json }) => listTasks(client, filter, console, { quiet, json }));
    });
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
    .description('cancel tasks')
    .argument('<id...>', 'task ids, as printed by the pull')
    .action((ids: string[], _options: unknown, command: Command) =>
      withClient(command, (client, { json }) => cancelTasks(client, ids, console, json)),
    );
  addNotes(task, {
    list: {
      examples: ['bhatti task list', 'bhatti task list --status failed --json', 'bhatti task ls -q | head -n 1'],
    },
    show: { examples: ['bhatti task show tsk_abc123'] },
    watch: {
      examples: ['bhatti task watch tsk_abc123', 'bhatti task watch tsk_abc123 --json'],
      more: ['With --json it prints an object a line, one for each change.'],
      exitCodes: watchingExitCodes,
    },
    cancel: { examples: ['bhatti task cancel tsk_abc123'] },
  });
}

function parseLimit(text: string): number {
  const limit = Number(text);
  if (!Number.isInteger(limit) || limit < 1)
    throw new InvalidArgumentError('It must be a number of tasks, at least 1.');
  return limit;
}
