/** Bundles the programs and the worker threads into dist/, and copies the page's files beside them. */
import { cp } from 'node:fs/promises';
import { build } from 'esbuild';
import { clientPrograms, program, root, withNames } from './bundle.ts';

/*
 * All programs are bundled with their third-party packages, as somebody waits for each to start. CPU seconds to start, bundled and
 * from node_modules: 0.1 and 0.2 for the command line, 0.5 and 1.0 for the API, 0.4 and 0.7 for a worker. Memory of a worker
 * thread: 14.5 MB and 17.3 MB.
 */
const services = { api: 'apps/api/main.ts', worker: 'apps/worker/main.ts' };

const output = { outdir: 'dist', sourcemap: 'linked' } as const;

await Promise.all([
  build({ ...program, ...output, entryPoints: clientPrograms }),
  build({ ...program, ...withNames, ...output, entryPoints: services }),
  cp(`${root}apps/api/page/assets`, `${root}dist/assets`, { recursive: true }),
]);
