import { readFile, writeFile } from 'node:fs/promises';

/** A command line of a document and its documented output, without the last newline. */
export interface DocumentedCommand {
  readonly command: string;
  readonly output: string;
}

const FENCE = /^```(?:console)?\n(.*?)^```$/gms;

/** The commands of the code blocks of a Markdown page: lines that begin with `$ `, and below each what it prints. */
export function documentedCommands(page: string): DocumentedCommand[] {
  return [...page.matchAll(FENCE)].flatMap(([, block = '']) => commandsOf(block));
}

function commandsOf(block: string): DocumentedCommand[] {
  if (!block.startsWith('$ ')) return [];
  return block
    .slice(2)
    .split(/^\$ /m)
    .map((text) => {
      const [command = '', ...output] = text.replace(/\n+$/, '').split('\n');
      return { command, output: output.join('\n') };
    });
}

/** The page with its outputs replaced, in the order of its commands. */
export function withOutputs(page: string, outputs: readonly string[]): string {
  const left = [...outputs];
  return page.replace(FENCE, (whole, block: string) => {
    const commands = commandsOf(block);
    if (commands.length === 0) return whole;
    const lines = commands.flatMap(({ command }) => [`$ ${command}`, left.shift() ?? '']);
    return `${whole.slice(0, whole.indexOf('\n') + 1)}${lines.filter((line) => line !== '').join('\n')}\n\`\`\``;
  });
}

export async function readPage(url: URL): Promise<string> {
  return readFile(url, 'utf8');
}

export async function writePage(url: URL, text: string): Promise<void> {
  await writeFile(url, text);
}

/** What differs from run to run, and its placeholder. */
const variable: readonly (readonly [RegExp, string])[] = [
  [/((?:_| )(?:bytes|seconds)|clients)("?:?) \d+/g, '$1$2 N'],
  [/\b(waiting|active|delayed|failed|completed)("?:?) \d+/g, '$1$2 N'],
  [/(layers|root filesystems|downloads): \d+/g, '$1: N'],
  [/Bytes":\d+/g, 'Bytes":N'],
  [/\btsk_(?:[a-z2-7]{12}|abc123)\b/g, 'TASK'],
  // The worker may have stopped before the answer.
  [/^cancelled TASK$/gm, 'cancelling TASK'],
  [/Redis \d[\d.]*/g, 'Redis N'],
  [/^(worker +)[\w.-]+:\d+/gm, '$1HOST:PID'],
  [/"[\w.-]+:\d+"/g, '"HOST:PID"'],
  [/"pid": \d+/g, '"pid": N'],
  [/"host": "[^"]+"/g, '"host": "HOST"'],
  [/\bbht_\w+/g, 'TOKEN'],
  [/\b[0-9a-f]{64}\b/g, 'DIGEST'],
  [/\b[0-9a-f]{12}\b/g, 'DIGEST'],
  [/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME'],
  [/\b(?:just now|\d+ (?:second|minute|hour|day)s? ago)\b/g, 'AGE'],
  [/\b\d+(?:\.\d+)? (?:B|kB|MB|GB)\b/g, 'SIZE'],
  [/\b\d+(?:\.\d+)? ms\b/g, 'MS'],
  [/\(pid \d+\)/g, '(pid N)'],
  [/\bhttp:\/\/127\.0\.0\.1:\d+/g, 'URL'],
  [/\b127\.0\.0\.1:\d+/g, 'REGISTRY'],
];

/**
 * The output with what differs from run to run replaced: ids, times, sizes, digests, addresses. Also evens out the widths of columns,
 * and repeated lines, as a step that counts bytes may print several.
 */
export function normalised(output: string): string {
  let text = output;
  for (const [pattern, name] of variable) text = text.replace(pattern, name);
  const lines = text.split('\n').map((line) => line.trimEnd().replace(/(\S) {2,}/g, '$1  '));
  // A slow start is announced, and the SHA-256 is known only some time after the build.
  const kept = lines.filter((line) => !/^(?:starting|waiting for) the local server|^sha256 |"sha256":/.test(line));
  return kept.filter((line, index) => line !== kept[index - 1]).join('\n');
}

/** Values that documented commands use, and the actual ones of this run. */
export class NamedValues {
  readonly #actual = new Map<string, string>();
  readonly #latest = new Map<string, string>();

  set(documented: string, actual: string): void {
    this.#actual.set(documented, actual);
  }

  /** Notes the ids and tokens in an output: the next new one in a command of the page stands for the latest. */
  see(output: string): void {
    for (const { name, told } of kinds) {
      for (const [, value = ''] of output.matchAll(told)) this.#latest.set(name.source, value);
    }
  }

  /** The command with the actual values. */
  in(command: string): string {
    for (const { name } of kinds) {
      for (const [documented] of command.matchAll(name)) {
        const latest = this.#latest.get(name.source);
        if (!this.#actual.has(documented) && latest !== undefined) this.#actual.set(documented, latest);
      }
    }
    return [...this.#actual].reduce((text, [documented, actual]) => text.replaceAll(documented, actual), command);
  }

  /** An output with the documented values. */
  from(output: string): string {
    return [...this.#actual].reduce((text, [documented, actual]) => text.replaceAll(actual, documented), output);
  }

  /** Forgets ids and tokens, as each page has its own. */
  forget(): void {
    for (const name of [...this.#actual.keys()].filter((one) => kinds.some(({ name }) => one.match(name))))
      this.#actual.delete(name);
  }
}

/** The kinds of ids and tokens: how they look, and where an output announces a new one. */
const kinds = [
  { name: /\btsk_[a-z0-9]{6,}/g, told: /\(task: (tsk_[a-z2-7]{12})\)/g },
  { name: /\bbht_[A-Za-z0-9]{4,}/g, told: /^(bht_[A-Za-z0-9]{40})$/gm },
];
