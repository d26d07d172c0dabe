/**
 * Runs the documentation: each page's commands, in order, on a machine where nothing was pulled, must print what the page says
 * (except for ids, times, sizes). `UPDATE_TRANSCRIPTS=1` writes what they print into the pages instead.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type DocumentedCommand, documentedCommands, readPage, withOutputs, writePage } from './console-document.ts';
import { DocumentedWorld } from './documented-world.ts';

const root = new URL('../..', import.meta.url);
const update = process.env.UPDATE_TRANSCRIPTS === '1';

export interface Page {
  readonly path: string;
  readonly terminal?: boolean;
  /** Its plain commands run in this process; the other pages show them to be right as processes. */
  readonly here?: boolean;
  /** A page for people: keeps its example values when it is updated, and has no exit codes. */
  readonly prose?: boolean;
}

/** Runs the page's commands and resolves with their outputs. */
async function play(
  world: DocumentedWorld,
  commands: readonly DocumentedCommand[],
  { terminal = false, here = false }: Page,
): Promise<string[]> {
  await world.reset();
  const outputs: string[] = [];
  for (const [index, documented] of commands.entries()) {
    const held = world.hold(documented);
    // Nobody presses Ctrl+C on a pipe.
    const asPerson = terminal || documented.output.includes('^C');
    const output = await (asPerson
      ? world.inTerminal(documented)
      : here
        ? world.here(documented)
        : world.piped(documented));
    world.values.see(output);
    if (index === 0) await world.seeServer();
    outputs.push(output);
    if (held) await world.settle();
  }
  return outputs;
}

const withoutExit = (output: string) => output.replace(/\n?\[exit \d+\]$/, '');

/** Plays a page, and expects it to be right, or updates it. */
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
  // `bht_...` stands in pages for the reader's token.
  const told = (output: string) =>
    page.prose ? world.told(output).replaceAll('bht_...', 'TOKEN') : world.told(output);
  const pairs = (all: readonly string[]) =>
    commands.map(({ command }, index) => `$ ${command}\n${told(all[index] ?? '')}`).join('\n');
  expect(pairs(now)).toBe(pairs(commands.map(({ output }) => output)));
}

export const PROSE: readonly Page[] = [
  { path: 'docs/tour.md', prose: true, here: true },
  { path: 'README.md', prose: true },
];
export const TERMINAL: Page = { path: 'test/transcripts/terminal.md', terminal: true };
export const PIPED: Page = { path: 'test/transcripts/piped.md', here: true };

/** A test for each page. Each test file has a machine of its own, so that they can run side by side. */
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
