import leven from 'leven';
import { CliError } from './cli-error.ts';
import type { ApiClient } from './server/api-client.ts';
import { ApiError } from './server/api-error.ts';

/** If the action fails because there is no image of that name, the error suggests the one that was probably meant. */
export async function suggestingImage<Answer>(
  client: ApiClient,
  name: string,
  action: () => Promise<Answer>,
): Promise<Answer> {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404 || error.code !== 'not_found') throw error;
    const images = await client.images().catch(() => []);
    const near = closest(
      name,
      images.map((image) => image.name),
    );
    // The same name exists, but with another owner than the one asked for.
    if (near === undefined || near === name) throw error;
    throw new CliError(error.code, error.message, { cause: error, hint: `Did you mean "${near}"?` });
  }
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
