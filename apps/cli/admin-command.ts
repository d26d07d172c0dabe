import type { ApiClient } from './api-client.ts';
import type { AdminStatus } from './api-schema.ts';
import { type Console, printJson } from './console.ts';
import { formatFields } from './table.ts';

/** `bhatti admin status`. */
export async function showStatus(client: ApiClient, console: Console, json: boolean): Promise<number> {
  const status = await client.adminStatus();
  if (json) printJson(console, status);
  else console.out(formatStatus(status));
  return 0;
}

/** A line for each part, whatever facts the server tells about it. */
export function formatStatus({ version, queue, workers, disk, redis }: AdminStatus): string {
  return formatFields([
    ['version', version],
    ['queue', formatFacts(queue)],
    ['disk', formatFacts(disk)],
    ['redis', formatFacts(redis)],
    ...(workers.length === 0
      ? [['worker', 'none: pulls wait until one is started'] as const]
      : workers.map(({ name, started_at }) => ['worker', started_at ? `${name}, since ${started_at}` : name] as const)),
  ]);
}

function formatFacts(facts: Readonly<Record<string, unknown>>): string {
  return Object.entries(facts)
    .map(([name, value]) => `${name.replaceAll('_', ' ')} ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(', ');
}
