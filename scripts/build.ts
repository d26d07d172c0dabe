/** Bundles the programs and the worker threads into dist/, and copies the page's files beside them. */
import { cp } from 'node:fs/promises';
import { build } from 'esbuild';
import { program, root, withNames } from './bundle.ts';

/**
 * With their third-party packages in them, because somebody waits for each. To start takes, in seconds of a processor, and from
 * node_modules: 0.1 and 0.2 for the command line, 0.5 and 1.0 for the API, 0.4 and 0.7 for a worker. A worker thread takes 14.5 MB
 * of memory, and 17.3 MB.
 */
const programs = {
  cli: 'apps/cli/main.ts',
  rootfs: 'apps/cli/rootfs/program.ts',
  'rootfs-thread': 'libs/rootfs/thread-program.ts',
};
const services = { api: 'apps/api/main.ts', worker: 'apps/worker/main.ts' };

const output = { outdir: 'dist', sourcemap: 'linked' } as const;

await Promise.all([
  build({ ...program, ...output, entryPoints: programs }),
  build({ ...program, ...withNames, ...output, entryPoints: services }),
  cp(`${root}apps/api/page/assets`, `${root}dist/assets`, { recursive: true }),
]);
