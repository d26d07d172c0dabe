import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { runHere } from './command-line.ts';
import { serveAnswers } from './http-server.ts';
import { startInTerminal } from './pseudo-terminal.ts';
import { cleanEnvironment, stageCli } from './staged-cli.ts';

/** The scripts in the shells themselves, with images and tasks of a running server. */
let staged: Awaited<ReturnType<typeof stageCli>>;
let server: Awaited<ReturnType<typeof serveAnswers>>;
let answering: Awaited<ReturnType<typeof answerHere>>;
let directory: string;
let env: NodeJS.ProcessEnv;

const image = { ref: 'r', digest: 'd', platform: 'p', size_bytes: 1, disk_bytes: 1, created_at: '' };
const task = {
  id: 'tsk_abc234abc234',
  type: 'pull',
  status: 'running',
  name: 'py',
  ref: 'py',
  progress: null,
  detail: null,
  result: null,
  error: null,
  created_at: null,
  started_at: null,
  completed_at: null,
};
const ended = { ...task, id: 'tsk_ended2345678', status: 'completed' };

beforeAll(async () => {
  staged = await stageCli();
  server = await serveAnswers(({ url }) => ({
    status: 200,
    body:
      url.pathname === '/tasks'
        ? { tasks: [task, ended] }
        : {
            images: [
              { ...image, name: 'py-3.12' },
              { ...image, name: 'node-22' },
              // Of no server of ours: bash would run it.
              { ...image, name: 'py-$(touch$IFS./ran)' },
            ],
          },
  }));
  directory = staged.dataDirectory('completion');
  const bin = join(directory, 'bin');
  await mkdir(bin, { recursive: true });
  answering = await answerHere();
  await writeFile(join(bin, 'bhatti'), bhatti(answering.port));
  await chmod(join(bin, 'bhatti'), 0o755);
  env = cleanEnvironment(directory, {
    PATH: `${bin}:${process.env.PATH}`,
    BHATTI_URL: `http://127.0.0.1:${server.port}`,
    BHATTI_TOKEN: 't',
  });
});
afterAll(async () => {
  answering.server.close();
  await server.close();
  await staged.remove();
});

/**
 * The program that the shells call. A process of its own prints the script and completes the names of images; with all else it asks
 * this process, which knows the words as the shell gave them, and has started already.
 */
const bhatti = (port: number) => `#!/bin/bash
case "$*" in
  '__complete '*delete*) ;;
  '__complete '*)
    exec 3<> /dev/tcp/127.0.0.1/${port}
    printf '%s\\0' "$#" "$@" >&3
    exec cat <&3 ;;
esac
exec '${process.execPath}' '${staged.cli}' "$@"
`;

/** Answers each connection, which sends the number of its words and the words, a NUL behind each, with what that command prints. */
async function answerHere() {
  const server = createServer((socket) => {
    let sent = '';
    socket.setEncoding('utf8').on('data', async (text: string) => {
      sent += text;
      const [count, ...words] = sent.split('\0').slice(0, -1);
      if (words.length === Number(count)) socket.end((await runHere(words, { env })).stdout);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return { server, port: address !== null && typeof address === 'object' ? address.port : 0 };
}

async function output(file: string, ...args: string[]): Promise<string> {
  return (await promisify(execFile)(file, args, { env, cwd: directory })).stdout;
}

const cases: [string, string][] = [
  ['bhatti image de', 'delete'],
  ['bhatti image delete py', 'py-3.12'],
  ['bhatti task watch tsk_e', ended.id],
  ['bhatti task cancel tsk_', task.id],
  ['bhatti --json image pull --pl', '--platform'],
];

/** Skips the test, with the reason, if the shell is not installed. */
function inShell(shell: string, name: string, run: () => Promise<void>): void {
  const there = (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, shell)));
  if (!there) console.warn(`${shell} is not installed: its completion is not tested (apt-get install ${shell})`);
  (there ? test : test.skip)(name, run);
}

describe('completion', () => {
  test('bash', async () => {
    const script = `source <(bhatti completion bash)
      complete -p bhatti
      for line in "$@"; do
        IFS=' ' read -ra COMP_WORDS <<< "$line"
        COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)) COMPREPLY=()
        _bhatti
        echo "\${COMPREPLY[@]}"
      done`;
    const printed = await output('bash', '--norc', '-c', script, 'bash', ...cases.map(([line]) => line));
    expect(printed.trimEnd().split('\n')).toEqual([
      'complete -o default -F _bhatti bhatti',
      ...cases.map(([, completed]) => completed),
    ]);
    expect(existsSync(join(directory, 'ran'))).toBe(false);
  });

  inShell('fish', 'fish', async () => {
    const script = `bhatti completion fish | source
      for line in $argv
        complete -C $line | sort | string join ' '
      end`;
    const lines = [...cases.map(([line]) => line), 'bhatti image inspect '];
    const printed = await output('fish', '-c', script, ...lines);
    expect(printed.trimEnd().split('\n')).toEqual([...cases.map(([, completed]) => completed), 'node-22 py-3.12']);
  });

  inShell('zsh', 'zsh, with the Tab key', async () => {
    const terminal = await startInTerminal(['zsh', '-f', '-i'], {
      directory,
      env: { ...env, PS1: '> ' },
      columns: 80,
      rows: 24,
    });
    try {
      await terminal.shows(/> $|>$/);
      // Only zsh's own completions: of the thousand for other programs it reads each, for a second.
      terminal.type('_compdir=\r');
      terminal.type(`fpath=(\${(M)fpath:#*/Completion(|/Base|/Zsh)}); autoload -Uz compinit; compinit -u -D\r`);
      terminal.type('source <(bhatti completion zsh); echo rea"dy"\r');
      await terminal.shows(/^ready$/m);
      for (const [line, completed] of cases) {
        terminal.type(`${line}\t`);
        const whole = [...line.split(' ').slice(0, -1), completed].join(' ');
        await terminal.shows(new RegExp(`^> ${whole.replaceAll('.', '\\.')}$`, 'm'));
        terminal.type('\x15');
      }
    } finally {
      terminal.child.kill('SIGKILL');
      await terminal.ended;
    }
  });
});
