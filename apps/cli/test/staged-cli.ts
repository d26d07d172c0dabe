import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const built = join(here, '../../../dist/cli.js');

/** Bundles a source of the CLI with all it needs, to run it as a process of its own. */
export async function bundle(source: string, output: string): Promise<void> {
  await build({
    entryPoints: [join(here, '..', source)],
    outfile: output,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    banner: {
      js: "import { createRequire as createRequireHere } from 'node:module'; const require = createRequireHere(import.meta.url);",
    },
    logLevel: 'error',
  });
}

export interface ProcessSurroundings {
  readonly env: NodeJS.ProcessEnv;
  readonly directory?: string;
}

function startCli(cli: string, args: readonly string[], { env, directory }: ProcessSurroundings) {
  const child = spawn(process.execPath, [cli, ...args], { cwd: directory, env, stdio: 'pipe' });
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (data) => {
    output.stdout += data;
  });
  child.stderr.on('data', (data) => {
    output.stderr += data;
  });
  // It may end before it has read all.
  child.stdin.on('error', () => {});
  const ended = once(child, 'close').then(([exitCode]) => ({ exitCode: Number(exitCode), ...output }));
  return { child, output, ended };
}

/** A folder with the built CLI, and beside it whatever programs a test wants `serve` to find there. */
export async function stageCli(programs: Readonly<Record<string, string>> = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-cli-'));
  const programDirectory = join(directory, 'dist');
  await mkdir(programDirectory);
  await writeFile(join(programDirectory, 'package.json'), '{"type":"module"}');
  const cli = join(programDirectory, 'cli.js');
  await copyFile(built, cli);
  for (const [name, text] of Object.entries(programs)) await writeFile(join(programDirectory, name), text);
  return {
    cli,
    start: (args: readonly string[], surroundings: ProcessSurroundings) => startCli(cli, args, surroundings),
    run: (args: readonly string[], surroundings: ProcessSurroundings) => {
      const { child, ended } = startCli(cli, args, surroundings);
      child.stdin.end();
      return ended;
    },
    /** A data directory that nothing has used yet. */
    dataDirectory: (name: string) => join(directory, name),
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}

/** The environment of a CLI that no setting of the machine reaches. */
export function cleanEnvironment(directory: string, extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH, HOME: directory, ...extra };
}
