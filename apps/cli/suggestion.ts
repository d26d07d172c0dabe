import leven from 'leven';
import { CliError } from './cli-error.ts';
import type { ApiClient } from './server/api-client.ts';
import { ApiError } from './server/api-error.ts';

/** If the action fails because there is no image of that name, the error says what makes it, or suggests the one that was probably meant. */
export async function suggestingImage<Answer>(
  client: ApiClient,
  name: string,
  action: () => Promise<Answer>,
): Promise<Answer> {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404 || error.code !== 'not_found') throw error;
    const hint = (await underWay(client, name)) ?? (await nearImage(client, name));
    if (hint === undefined) throw error;
    throw new CliError(error.code, error.message, { cause: error, hint });
  }
}

/** The task that makes an image of that name. The server lists those under way first. */
async function underWay(client: ApiClient, name: string): Promise<string | undefined> {
  const tasks = await client.tasks({ limit: 100 }).catch(() => []);
  const task = tasks.find((one) => one.name === name && (one.status === 'queued' || one.status === 'running'));
  if (task === undefined) return undefined;
  return `It is being ${task.type === 'import' ? 'imported' : 'pulled'}: bhatti task watch ${task.id}`;
}

async function nearImage(client: ApiClient, name: string): Promise<string | undefined> {
  const images = await client.images().catch(() => []);
  const near = closest(
    name,
    images.map((image) => image.name),
  );
  // The same name exists, but with another owner than the one asked for.
  return near === undefined || near === name ? undefined : `Did you mean "${near}"?`;
}

/** The candidate most like `typed`: a few letters different, or longer. */
export function closest(typed: string, candidates: readonly string[]): string | undefined {
  if (typed === '' || typed.length > 100) return undefined;
  const limit = Math.max(1, Math.floor(typed.length * 0.3));
  const distance = (candidate: string) => {
    const longer = candidate.toLowerCase().startsWith(typed.toLowerCase());
    return longer ? 0.5 : leven(typed.toLowerCase(), candidate.toLowerCase());
  };
  return candidates
    .map((candidate) => ({ candidate, away: distance(candidate) }))
    .filter(({ away }) => away <= limit)
    .sort((a, b) => a.away - b.away)[0]?.candidate;
}
