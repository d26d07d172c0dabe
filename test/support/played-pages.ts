/**
 * The documentation, run: each page's commands in their order, on a machine where nothing was pulled, must print what the page
 * says (but for ids, times, sizes). `UPDATE_TRANSCRIPTS=1` writes what they print into the pages instead.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type DocumentedCommand, documentedCommands, readPage, withOutputs, writePage } from './console-document.ts';
import { DocumentedWorld } from './documented-world.ts';

const root = new URL('../..', import.meta.url);
const update = process.env.UPDATE_TRANSCRIPTS === '1';

export interface Page {
  readonly path: string;
  readonly terminal?: boolean;
  /** For people: keeps what it says as long as it means the same, and does not tell exit codes. */
  readonly prose?: boolean;
}

/** Resolves with the outputs of the page's commands as they were now. */
async function play(
  world: DocumentedWorld,
  commands: readonly DocumentedCommand[],
  { terminal = false }: Page,
): Promise<string[]> {
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

/** Plays a page, and expects it to be true. */
async function check(world: DocumentedWorld, page: Page): Promise<void> {
  const url = new URL(page.path, root);
  const text = await readPage(url);
  const commands = documentedCommands(text);
  expect(commands.length).toBeGreaterThan(5);
  const outputs = await play(world, commands, page);
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
  // What stands in pages for the token of the reader.
  const told = (output: string) =>
    page.prose ? world.told(output).replaceAll('bht_...', 'TOKEN') : world.told(output);
  const pairs = (all: readonly string[]) =>
    commands.map(({ command }, index) => `$ ${command}\n${told(all[index] ?? '')}`).join('\n');
  expect(pairs(now)).toBe(pairs(commands.map(({ output }) => output)));
}

export const PROSE: readonly Page[] = [
  { path: 'docs/tour.md', prose: true },
  { path: 'README.md', prose: true },
];
export const TERMINAL: Page = { path: 'test/transcripts/terminal.md', terminal: true };
export const PIPED: Page = { path: 'test/transcripts/piped.md' };

/** A test for each page. Each file of tests has a machine of its own, so that they run side by side. */
export function testPages(pages: readonly Page[]): void {
  let world: DocumentedWorld;
  beforeAll(async () => {
    world = await DocumentedWorld.open();
  });
  afterAll(() => world.close());
  test.each(pages)('what $path says comes out', (page) => check(world, page));
}

/** The commands of the examples in a page. */
export async function commandsOf(path: string): Promise<string[]> {
  return documentedCommands(await readPage(new URL(path, root))).map(({ command }) => command);
}
