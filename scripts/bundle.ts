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

/** It starts threads from a file of its own, and so cannot be bundled. */
export const POOL = 'tinypool';

/** The files that Bull Board serves. */
const BOARD_FILES = '@bull-board/ui';

/** esbuild's options for a program of Node with the third-party packages in it: those of the older kind ask for Node's modules by `require`. */
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
 * For what speaks to Redis: BullMQ and ioredis tell classes by their names, of which there may be two in one file. Not for the worker
 * threads: each closure is given its name anew then, wherever it is made, and to build an image took 80 ms more, a third.
 */
export const withNames = { keepNames: true } as const satisfies BuildOptions;
