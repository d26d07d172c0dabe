import { connectRunning } from './server/connection.ts';
import { describeEndpoint } from './server/http-connection.ts';
import { versionMismatch } from './server/version-match.ts';
import type { Settings } from './settings.ts';
import { type Console, printJson } from './terminal/console.ts';

const HEALTH_TIMEOUT = 3000;

/** `bhatti version`: this program's, and that of the server if it answers; if not, that is no failure. */
export async function showVersion(version: string, settings: Settings, console: Console): Promise<number> {
  const server = await serverVersion(settings);
  if (settings.json) {
    printJson(console, { version, server });
    return 0;
  }
  const where = server === null ? 'none answers' : `${server.version} (${server.url})`;
  console.out(`bhatti ${version}\nserver ${where}\n`);
  const warning = server === null ? undefined : versionMismatch(version, server.version);
  if (warning !== undefined) console.err(`warning: ${warning}\n`);
  return 0;
}

async function serverVersion(settings: Settings): Promise<{ version: string; url: string } | null> {
  try {
    const client = await connectRunning(settings, {});
    if (client === undefined) return null;
    try {
      return { version: (await client.health(HEALTH_TIMEOUT)).version, url: describeEndpoint(client.endpoint) };
    } finally {
      client.close();
    }
  } catch {
    return null;
  }
}
