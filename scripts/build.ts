/** Bundles the three programs and the worker threads into dist/, and copies the page's files beside them. Third-party packages stay in node_modules. */
import { cp, readFile } from 'node:fs/promises';
import { build } from 'esbuild';
import { z } from 'zod';

const root = new URL('..', import.meta.url);
const manifest = z
  .object({ version: z.string(), dependencies: z.record(z.string(), z.string()) })
  .parse(JSON.parse(await readFile(new URL('package.json', root), 'utf8')));

export const entries = {
  cli: 'apps/cli/main.ts',
  api: 'apps/api/main.ts',
  worker: 'apps/worker/main.ts',
  rootfs: 'apps/cli/rootfs/program.ts',
  'rootfs-thread': 'libs/rootfs/thread-program.ts',
};

await build({
  absWorkingDir: new URL('.', root).pathname,
  entryPoints: entries,
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  external: Object.keys(manifest.dependencies),
  define: { 'process.env.BHATTI_VERSION': JSON.stringify(manifest.version) },
  sourcemap: 'linked',
  logLevel: 'warning',
});

await cp(new URL('apps/api/page/assets/', root), new URL('dist/assets/', root), { recursive: true });
