/** Bundles the programs and the worker threads into dist/, and copies the page's files beside them. */
import { cp } from 'node:fs/promises';
import { build } from 'esbuild';
import { clientPrograms, program, root, TRACING, withNames } from './bundle.ts';

/*
 * All programs are bundled with their third-party packages, as somebody waits for each to start. CPU seconds to start, bundled and
 * from node_modules: 0.1 and 0.2 for the command line, 0.5 and 1.0 for the API, 0.4 and 0.7 for a worker. Memory of a worker
 * thread: 14.5 MB and 17.3 MB.
 *
 * Of the API's start, and a worker's, most is spent on reading the program. Without spaces and what syntax can do without it takes a
 * sixth less CPU, and without the packages for traces, which few ask for, another tenth. Names and lines stay, so that the stack of an
 * error in a log says where it was. The command line, a fifth of their size, starts no sooner for it.
 */
const services = { api: 'apps/api/main.ts', worker: 'apps/worker/main.ts' };

const quickToRead = { minifyWhitespace: true, minifySyntax: true, lineLimit: 160 } as const;

const output = { outdir: 'dist', sourcemap: 'linked' } as const;

await Promise.all([
  build({ ...program, ...output, entryPoints: clientPrograms }),
  build({
    ...program,
    ...withNames,
    ...quickToRead,
    ...output,
    external: [...program.external, ...TRACING],
    entryPoints: services,
  }),
  cp(`${root}apps/api/page/assets`, `${root}dist/assets`, { recursive: true }),
]);
