import { formatBytes } from '@bhatti/tasks';
import type { ApiClient } from './server/api-client.ts';
import type { AdminStatus } from './server/api-schema.ts';
import { type Console, printJson } from './terminal/console.ts';
import { formatFields } from './terminal/table.ts';

/** `bhatti admin status`. */
export async function showStatus(client: ApiClient, console: Console, json: boolean): Promise<number> {
  const status = await client.adminStatus();
  if (json) printJson(console, status);
  else console.out(formatStatus(status));
  return 0;
}

/** A line for each part of the server, with whatever facts it gives. */
function formatStatus({ version, queue, workers, disk, redis }: AdminStatus): string {
  return formatFields([
    ['version', version],
    ['queue', formatFacts(queue)],
    ['disk', formatFacts(disk)],
    ['redis', formatFacts(redis)],
    ...(workers.length === 0
      ? [['worker', 'none: pulls wait until one is started'] as const]
      : workers.map((worker) => ['worker', formatWorker(worker)] as const)),
  ]);
}

function formatWorker({ name, connected_at, tasks = [] }: AdminStatus['workers'][number]): string {
  return [name, connected_at && `since ${connected_at}`, tasks.length > 0 ? `runs ${tasks.join(' ')}` : 'idle']
    .filter(Boolean)
    .join(', ');
}

function formatFacts(facts: Readonly<Record<string, unknown>>): string {
  return Object.entries(facts)
    .map(([name, value]) => formatFact(name, value))
    .join(', ');
}

/** A fact as its name and value; one in bytes as a size, and a limit of 0 as none. */
function formatFact(name: string, value: unknown): string {
  const [, size] = /^(.*)_bytes$/.exec(name) ?? [];
  if (size !== undefined && typeof value === 'number') {
    return `${words(size)} ${value === 0 && size.endsWith('limit') ? 'none' : formatBytes(value)}`;
  }
  return `${words(name)} ${typeof value === 'string' ? value : JSON.stringify(value)}`;
}

function words(name: string): string {
  return name.replaceAll('_', ' ');
}
