/**
 * The documentation, run: each page's commands in their order, on a machine where nothing was pulled, must print what the page
 * says (but for ids, times, sizes). `UPDATE_TRANSCRIPTS=1` writes what they print into the pages instead.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  type DocumentedCommand,
  documentedCommands,
  readPage,
  withOutputs,
  writePage,
} from './support/console-document.ts';
import { createDocumentedWorld } from './support/documented-world.ts';

const root = new URL('..', import.meta.url);
const update = process.env.UPDATE_TRANSCRIPTS === '1';

let world: Awaited<ReturnType<typeof createDocumentedWorld>>;
beforeAll(async () => {
  world = await createDocumentedWorld();
});
afterAll(() => world.close());

interface Page {
  readonly path: string;
  readonly terminal?: boolean;
  /** For people: keeps what it says as long as it means the same, and does not tell exit codes. */
  readonly prose?: boolean;
}

/** Resolves with the outputs of the page's commands as they were now. */
async function play(commands: readonly DocumentedCommand[], { terminal = false }: Page): Promise<string[]> {
  await world.reset();
  const outputs: string[] = [];
  for (const [index, documented] of commands.entries()) {
    const held = world.hold(documented);
    // Nobody presses Ctrl+C on a pipe.
    const asPerson = terminal || documented.output.includes('^C');
    const output = await (asPerson ? world.inTerminal(documented) : world.piped(documented));
    world.values.see(output);
    if (index === 0) await world.seeServer();
    outputs.push(output);
    if (held) await world.settle();
  }
  return outputs;
}

const withoutExit = (output: string) => output.replace(/\n?\[exit \d+\]$/, '');

async function run(page: Page): Promise<void> {
  const url = new URL(page.path, root);
  const text = await readPage(url);
  const commands = documentedCommands(text);
  expect(commands.length).toBeGreaterThan(5);
  const outputs = await play(commands, page);
  const now = outputs.map((output) => (page.prose ? withoutExit(output) : output));
  if (update) {
    await writePage(
      url,
      withOutputs(
        text,
        now.map((output) => (page.prose ? world.values.from(output) : world.told(output))),
      ),
    );
    return;
  }
  // What stands in pages for the server of the reader.
  const told = (output: string) =>
    page.prose
      ? world.told(output).replaceAll('http://localhost:8080', 'URL').replaceAll('bht_...', 'TOKEN')
      : world.told(output);
  const pairs = (all: readonly string[]) =>
    commands.map(({ command }, index) => `$ ${command}\n${told(all[index] ?? '')}`).join('\n');
  expect(pairs(now)).toBe(pairs(commands.map(({ output }) => output)));
}

const pages: Page[] = [
  { path: 'docs/tour.md', prose: true },
  { path: 'README.md', prose: true },
  { path: 'test/transcripts/terminal.md', terminal: true },
  { path: 'test/transcripts/piped.md' },
];

describe('what the documentation says comes out', () => {
  test.each(pages)('$path', run, 120_000);

  test('every example of docs/cli.md is among them', async () => {
    const played = await Promise.all(
      pages.map(async ({ path }) => documentedCommands(await readPage(new URL(path, root)))),
    );
    const commands = new Set(played.flat().map(({ command }) => command.replace(/^\.\//, '')));
    const examples = documentedCommands(await readPage(new URL('docs/cli.md', root))).map(({ command }) => command);
    expect(examples.length).toBeGreaterThan(40);
    // Those that run until they are stopped, and the scripts of shells that may be missing, are run by serve.test.ts and completion.test.ts.
    const elsewhere = /bhatti serve --(?:workers|role)|bhatti completion (?:zsh|fish)/;
    const left = examples.filter(
      (example) =>
        !elsewhere.test(example) && ![...commands].some((command) => `${command} `.startsWith(`${example} `)),
    );
    expect(left).toEqual([]);
  });
});
