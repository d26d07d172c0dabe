import { expect, test } from '@jest/globals';
import { commandsOf, PIPED, PROSE, TERMINAL, testPages } from '../support/played-pages.ts';

testPages(PROSE);

test('every example of docs/cli.md is on one of the pages', async () => {
  const pages = [...PROSE, TERMINAL, PIPED];
  const played = (await Promise.all(pages.map(({ path }) => commandsOf(path)))).flat();
  const commands = new Set(played.map((command) => command.replace(/^\.\//, '')));
  const examples = await commandsOf('docs/cli.md');
  expect(examples.length).toBeGreaterThan(40);
  // Those that run until they are stopped, and the scripts of shells that may be missing, are run by serve.test.ts and completion.test.ts.
  const elsewhere = /bhatti serve --(?:workers|role)|bhatti completion (?:zsh|fish)/;
  const left = examples.filter(
    (example) => !elsewhere.test(example) && ![...commands].some((command) => `${command} `.startsWith(`${example} `)),
  );
  expect(left).toEqual([]);
});
