import { forEach } from './for-each.ts';
import type { ApiClient } from './server/api-client.ts';
import type { Task } from './server/api-schema.ts';
import { type Console, printJson } from './terminal/console.ts';
import { formatAge, formatFields, formatTable } from './terminal/table.ts';

/** `bhatti task list`. */
export async function listTasks(
  client: ApiClient,
  filter: { status?: string; limit: number },
  console: Console,
  { quiet, json }: { quiet: boolean; json: boolean },
): Promise<number> {
  const tasks = await client.tasks(filter);
  if (json) printJson(console, { tasks });
  else if (quiet) console.out(tasks.map(({ id }) => `${id}\n`).join(''));
  else console.out(formatTasks(tasks, Date.now()));
  return 0;
}

/** LAST is the code of a task's error, or else its progress. */
function formatTasks(tasks: readonly Task[], now: number): string {
  return formatTable(
    ['ID', 'TYPE', 'STATUS', 'NAME', 'CREATED', 'LAST'],
    tasks.map((task) => [
      task.id,
      task.type,
      task.status,
      task.name,
      task.created_at === null ? '' : formatAge(Date.parse(task.created_at), now),
      task.error?.code ?? task.progress ?? '',
    ]),
  );
}

/** `bhatti task show`. */
export async function showTask(client: ApiClient, id: string, console: Console, json: boolean): Promise<number> {
  const task = await client.task(id);
  if (json) printJson(console, task);
  else console.out(formatTask(task));
  return 0;
}

/** `bhatti task cancel`. A running pull stops within a second or so; its state then says `cancelled`. */
export async function cancelTasks(
  client: ApiClient,
  ids: readonly string[],
  console: Console,
  json: boolean,
): Promise<number> {
  return forEach(ids, console, async (id) => {
    const task = await client.cancelTask(id);
    if (json) printJson(console, task);
    else console.out(`${task.status === 'cancelled' ? 'cancelled' : 'cancelling'} ${task.id}\n`);
  });
}

/** A task as `name value` lines; missing values are left out. */
function formatTask(task: Task): string {
  return formatFields([
    ['id', task.id],
    ['type', task.type],
    ['status', task.status],
    ['name', task.name],
    ['ref', task.ref],
    ['progress', task.progress],
    ['digest', task.result?.digest],
    ['error', task.error && `${task.error.message} (${task.error.code})`],
    ['created', task.created_at],
    ['started', task.started_at],
    ['completed', task.completed_at],
  ]);
}
