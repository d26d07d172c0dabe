/** Bundles the programs and the worker threads into dist/, and copies the page's files beside them. */
import { cp } from 'node:fs/promises';
import { build } from 'esbuild';
import { program, root } from './bundle.ts';

/**
 * With their third-party packages in them, because somebody waits for each. To start takes, in seconds of a processor, and from
 * node_modules: 0.1 and 0.2 for the command line, 0.5 and 1.0 for the API, 0.4 and 0.7 for a worker. A worker thread takes 14.5 MB
 * of memory, and 17.3 MB.
 */
const programs = {
  cli: 'apps/cli/main.ts',
  api: 'apps/api/main.ts',
  worker: 'apps/worker/main.ts',
  rootfs: 'apps/cli/rootfs/program.ts',
  'rootfs-thread': 'libs/rootfs/thread-program.ts',
};

await Promise.all([
  build({ ...program, entryPoints: programs, outdir: 'dist', sourcemap: 'linked' }),
  cp(`${root}apps/api/page/assets`, `${root}dist/assets`, { recursive: true }),
]);
