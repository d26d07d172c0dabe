import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const built = join(here, '../../../dist/cli.js');

/** Bundles a source of the CLI with all it needs, to run it as a process of its own. */
export async function bundle(source: string, output: string, version?: string): Promise<void> {
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
    ...(version !== undefined && { define: { 'process.env.BHATTI_VERSION': JSON.stringify(version) } }),
    logLevel: 'error',
  });
}

/**
 * A folder with the built CLI, and beside it whatever programs a test wants `serve` to find there.
 *
 * @param version to say that it is of; left out, it is that of the project
 */
export async function stageCli(programs: Readonly<Record<string, string>> = {}, version?: string) {
  const directory = await mkdtemp(join(tmpdir(), 'bhatti-cli-'));
  const programDirectory = join(directory, 'dist');
  await mkdir(programDirectory);
  await writeFile(join(programDirectory, 'package.json'), '{"type":"module"}');
  const cli = join(programDirectory, 'cli.js');
  if (version === undefined) await copyFile(built, cli);
  else await bundle('main.ts', cli, version);
  for (const [name, text] of Object.entries(programs)) await writeFile(join(programDirectory, name), text);
  return {
    cli,
    /** A data directory that nothing has used yet. */
    dataDirectory: (name: string) => join(directory, name),
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}

/** The environment of a CLI that no setting of the machine reaches. */
export function cleanEnvironment(directory: string, extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH, HOME: directory, ...extra };
}
