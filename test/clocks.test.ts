import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';

const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * Files that read the wall clock, and what happens if it is wrong, or set. Durations are measured with `performance.now()`; what has
 * to hold between hosts goes by Redis, the file system, or the time spent watching. See docs/operating.md, "Clocks".
 */
const readers: Readonly<Record<string, string>> = {
  'apps/api/page/session.ts': 'a log-in lasts shorter or longer by so much',
  'apps/api/page/time.ts': 'shown',
  'apps/api/tasks/queue-state.ts': 'shown',
  'apps/cli/server/other-host.ts':
    'a server is started beside that of another host when it is a minute ahead; when it is behind, one that is gone refuses for longer',
  'apps/cli/transfer/export-display.ts': 'the rate shown',
  'apps/cli/image-command.ts': 'shown',
  'apps/cli/terminal/progress-display.ts': 'shown',
  'apps/cli/setup-command.ts': 'a setup fails when another begins at that very moment, a minute ahead',
  'apps/cli/task-command.ts': 'shown',
  'apps/cli/user-command.ts': 'shown',
  'apps/worker/housekeeping/layer-cache-limit.ts':
    'layers of another version go when it is a day ahead, and are fetched again',
  'libs/oci/registry/retry.ts': 'only where the registry does not tell its own time',
  'libs/store/orphans.ts': 'what another host is making counts as left behind, when it is a day ahead',
  'libs/store/partial-files.ts': 'partial downloads that no task wants go, when it is a week ahead',
  'libs/tasks/late-retries.ts': 'a task is tried again without its pause, when it is behind by more than a minute',
};

test('nothing else goes by the wall clock', () => {
  const found = ['apps', 'libs'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .map((path) => join(folder, path))
      .filter((path) => path.endsWith('.ts') && !/\/(test|node_modules)\//.test(path))
      .filter((path) => readFileSync(join(root, path), 'utf8').includes('Date.now')),
  );
  expect(found.sort()).toEqual(Object.keys(readers).sort());
});
