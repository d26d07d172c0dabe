import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { BuildOptions } from 'esbuild';
import * as z from 'zod';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** This project's package.json, as far as the scripts need it. */
export const manifest = z
  .object({
    version: z.string(),
    license: z.string(),
    engines: z.object({ node: z.string() }),
    dependencies: z.record(z.string(), z.string()),
  })
  .parse(JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')));

/** Cannot be bundled, as it starts threads from a file of its own. */
export const POOL = 'tinypool';

/** Loaded from node_modules by those who ask for traces: in a bundle, every start has to read them. */
export const TRACING = ['@opentelemetry/*', 'bullmq-otel'] as const;

/** The programs of the command line, which are also what its package holds. */
export const clientPrograms = {
  cli: 'apps/cli/main.ts',
  rootfs: 'apps/cli/rootfs/program.ts',
  'rootfs-thread': 'libs/rootfs/thread-program.ts',
};

/** The files that Bull Board serves. */
const BOARD_FILES = '@bull-board/ui';

/** esbuild's options for a Node program with third-party packages in it, of which the CommonJS ones `require` Node's modules. */
export const program = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  define: { 'process.env.BHATTI_VERSION': JSON.stringify(manifest.version) },
  external: [POOL, BOARD_FILES],
  banner: {
    js: "import { createRequire as createBundleRequire } from 'node:module'; const require = createBundleRequire(import.meta.url);",
  },
  logLevel: 'warning',
} as const satisfies BuildOptions;

/**
 * For programs that use Redis: BullMQ and ioredis compare class names, which esbuild changes where two in a file are equal. Not for
 * worker threads: names are then set on each closure as it is created, which made building an image 80 ms slower, a third.
 */
export const withNames = { keepNames: true } as const satisfies BuildOptions;
