import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod';
import { ApiClient } from '../../apps/cli/server/api-client.ts';
import { runHereTogether } from '../../apps/cli/test/command-line.ts';
import { type PseudoTerminal, startInTerminal } from '../../apps/cli/test/pseudo-terminal.ts';
import { type DocumentedCommand, NamedValues, normalised } from './console-document.ts';
import { DocumentedImages } from './documented-images.ts';
import { DocumentedMachine } from './documented-machine.ts';
import { startRedis, type TestRedis } from './redis.ts';

/** Runs the commands of the documentation unchanged, and brings their outputs into the form of a page. */
export class DocumentedWorld {
  readonly values = new NamedValues();
  readonly #machine: DocumentedMachine;
  readonly #images: DocumentedImages;
  readonly #redis: TestRedis;
  /** Without, a command may have to start one, which only a process can. */
  #hasServer = false;

  private constructor(machine: DocumentedMachine, images: DocumentedImages, redis: TestRedis) {
    this.#machine = machine;
    this.#images = images;
    this.#redis = redis;
    this.values.set('127.0.0.1:5000', images.host);
    this.values.set('redis://10.0.0.5', redis.url);
    this.values.set('/var/lib/bhatti', machine.data);
  }

  static async open(): Promise<DocumentedWorld> {
    const images = await DocumentedImages.open();
    const machine = await DocumentedMachine.open(images.base);
    return new DocumentedWorld(machine, images, await startRedis());
  }

  /** Starts a page on a machine where nothing was pulled; pruning would not do, as tasks that just ended may still hold something. */
  async reset(): Promise<void> {
    this.#images.release();
    this.values.forget();
    await this.#stopServer();
    await this.#machine.reset(this.#images.host);
  }

  /** See `DocumentedImages.hold`. */
  hold(command: DocumentedCommand): boolean {
    return this.#images.hold(command);
  }

  /** Waits until a pull that was left under way has got as far as it can, before the next command looks at it. */
  async settle(): Promise<void> {
    const client = new ApiClient({ kind: 'socket', path: join(this.#machine.data, 'run/api.sock') });
    while (
      !(await client.tasks({ status: 'running', limit: 1 })).some(({ progress }) => progress?.startsWith('downloading'))
    ) {
      await sleep(50);
    }
    client.close();
  }

  /** Notes that a server runs, its URL and token of the running server. */
  async seeServer(): Promise<{ readonly url: string }> {
    this.#hasServer = true;
    const { url, token } = serverStatus.parse(
      JSON.parse(await this.here({ command: 'bhatti serve status --json', output: '' })),
    );
    // The first is how a server gives its own URL.
    const names = ['http://127.0.0.1:8080', 'http://localhost:8080', 'https://bhatti.example.com'];
    for (const name of names) this.values.set(name, url);
    this.values.set('bht_...', token);
    return { url };
  }

  /** An output, actual or documented, without what differs from run to run. */
  told(text: string): string {
    return normalised(this.#machine.withUsualPaths(text));
  }

  /** Runs a command on a pipe. Presses `^C` where the documented output has it, once the text before it is there. */
  async piped({ command, output }: DocumentedCommand): Promise<string> {
    const child = spawn('bash', ['-c', `exec 2>&1\n${this.#commandLine(command)}`], {
      cwd: this.#machine.work,
      env: this.#machine.env,
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (data: string) => {
      text += data;
    });
    const closed = new Promise<number>((resolve) => child.once('close', (code) => resolve(code ?? 1)));
    const interrupt = this.#interruptIn(output);
    if (interrupt !== undefined && child.pid !== undefined) {
      await this.#reached(async () => text, interrupt, closed);
      process.kill(-child.pid, 'SIGINT');
    }
    const code = await closed;
    return withExit(text.trimEnd(), code);
  }

  /**
   * The same in this process, which is cheaper by far, for commands that need no shell to be called and no process of their own. Others
   * run as processes.
   */
  async here(documented: DocumentedCommand): Promise<string> {
    const [, words] = PLAIN.exec(this.values.in(documented.command)) ?? [];
    if (words === undefined || !this.#hasServer || documented.output.includes('^C')) return this.piped(documented);
    const { work, env } = this.#machine;
    const { exitCode, text } = await runHereTogether(words.split(' '), { env, directory: work });
    return withExit(text.trimEnd(), exitCode);
  }

  /** The same in a terminal, where documented answers to questions are typed. */
  async inTerminal({ command, output }: DocumentedCommand): Promise<string> {
    const terminal = await startInTerminal(['bash', '-c', this.#commandLine(command)], {
      directory: this.#machine.work,
      env: this.#machine.env,
      columns: 120,
      rows: 30,
    });
    await answerQuestions(terminal, output, (text) => this.values.in(text));
    const interrupt = this.#interruptIn(output);
    if (interrupt !== undefined) {
      await this.#reached(terminal.text, interrupt, terminal.ended);
      terminal.type('\x03');
    }
    const code = await terminal.ended;
    return withExit(await terminal.text(), code);
  }

  async close(): Promise<void> {
    await this.#stopServer();
    await this.#redis.stop();
    await this.#images.close();
    await this.#machine.close();
  }

  #commandLine(command: string): string {
    return this.values.in(command.replace(/^\.\/bhatti/, 'bhatti'));
  }

  async #stopServer(): Promise<void> {
    this.#hasServer = false;
    await this.piped({ command: 'bhatti serve stop', output: '' });
  }

  /** The output to wait for before pressing Ctrl+C; undefined if it is not pressed. */
  #interruptIn(output: string): string | undefined {
    const at = output.indexOf('^C');
    return at === -1 ? undefined : this.told(output.slice(0, at).trimEnd());
  }

  async #reached(text: () => Promise<string>, wanted: string, closed: Promise<number>): Promise<void> {
    let ended = false;
    void closed.then(() => {
      ended = true;
    });
    const isThere = (seen: string) =>
      wanted === '' ? /downloading|healthy/.test(seen) : this.told(seen).includes(wanted);
    while (!ended && !isThere(await text())) await sleep(20);
  }
}

/** The output of a command, with the exit code if it failed. */
function withExit(text: string, code: number): string {
  if (code === 0) return text;
  return text === '' ? `[exit ${code}]` : `${text}\n[exit ${code}]`;
}

/** The words of a call without quotes, pipes and the like, of a command that runs no program, uses no stdin and starts no server. */
const PLAIN =
  /^bhatti (?!.* -(?: |$))((?:image (?!import [^-])|task |admin |user |setup|version|serve status)[\w ./:@=-]*)$/;

const serverStatus = z.object({ url: z.string(), token: z.string() });

const QUESTION = /^((?:.*\?|Server URL)[^\n]*\]:? )(\S+)$/gm;

async function answerQuestions(
  terminal: PseudoTerminal,
  output: string,
  actual: (text: string) => string,
): Promise<void> {
  for (const [, question = '', answer = ''] of output.matchAll(QUESTION)) {
    const pattern = question.trimEnd().replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    await terminal.shows(new RegExp(`${pattern}$`));
    // The page has the address of this run normalised away.
    terminal.type(`${actual(answer === 'URL' ? 'http://localhost:8080' : answer)}\r`);
  }
  if (!output.includes('API token')) return;
  await terminal.shows(/API token .*:$/);
  terminal.type(`${actual('bht_...')}\r`);
}
