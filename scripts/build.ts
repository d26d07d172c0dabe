/** Bundles the three programs and the worker threads into dist/, and copies the page's files beside them. */
import { cp } from 'node:fs/promises';
import { build } from 'esbuild';
import { manifest, program, root, wholeProgram } from './bundle.ts';

/** Programs with their third-party packages in them: those that somebody waits for, or of which there are several in a process. */
const whole = {
  // Starts in 130 ms; in 200 ms from node_modules.
  cli: 'apps/cli/main.ts',
  // Takes 14.5 MB of memory each; 17.3 MB from node_modules.
  'rootfs-thread': 'libs/rootfs/thread-program.ts',
};

const services = {
  api: 'apps/api/main.ts',
  worker: 'apps/worker/main.ts',
  rootfs: 'apps/cli/rootfs/program.ts',
};

const output = { outdir: 'dist', sourcemap: 'linked' } as const;

await Promise.all([
  build({ ...wholeProgram, ...output, entryPoints: whole }),
  build({ ...program, ...output, entryPoints: services, external: Object.keys(manifest.dependencies) }),
  cp(`${root}apps/api/page/assets`, `${root}dist/assets`, { recursive: true }),
]);
