import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** With the directories that hold mke2fs and the like, which the PATH of a plain user often lacks. */
const environment = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin` };

export interface CommandOptions {
  /** Where its output goes. Default: `pipe`, into the result. */
  readonly output?: 'pipe' | 'inherit';
  /** `host:port` of a registry that is not on loopback and to be asked over plain HTTP. */
  readonly insecureRegistry?: string;
}

/** Runs a command in the root of the project, which must not fail. Returns what it printed to stdout, where that is piped. */
export function command(
  file: string,
  args: readonly string[],
  { output = 'pipe', insecureRegistry }: CommandOptions = {},
): string {
  const { status, stdout, stderr, error } = spawnSync(file, args, {
    cwd: root,
    env: {
      ...environment,
      BHATTI_LISTEN: '127.0.0.1:0',
      ...(insecureRegistry !== undefined && { BHATTI_INSECURE_REGISTRIES: insecureRegistry }),
    },
    stdio: ['ignore', output, output],
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  if (status !== 0) {
    throw new Error(`${file} ${args.join(' ').slice(0, 200)} failed: ${stderr ?? ''}`, { cause: error });
  }
  return stdout ?? '';
}

export function isInstalled(tool: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${tool}`], { env: environment }).status === 0;
}
