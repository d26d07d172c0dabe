/**
 * Packs the command line for `npm install -g`, with everything it needs but without the server. Writes bhatti-VERSION.tgz into
 * the folder given, or the current one, and prints its path.
 */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { clientPrograms, manifest, POOL, program, root } from './bundle.ts';

const staging = await mkdtemp(join(tmpdir(), 'bhatti-package-'));
try {
  const inputs = await bundle();
  await mkdir(join(staging, 'bin'));
  await writeFile(join(staging, 'bin/bhatti.js'), launcher());
  await cp(join(root, 'node_modules', POOL), join(staging, 'node_modules', POOL), { recursive: true });
  await cp(join(root, 'LICENSE'), join(staging, 'LICENSE'));
  await writeFile(join(staging, 'THIRD-PARTY-LICENSES'), await licences(inputs));
  await cp(join(root, 'apps/cli/package-readme.md'), join(staging, 'README.md'));
  await writeFile(join(staging, 'package.json'), JSON.stringify(packageManifest(), null, 2));
  const destination = resolve(process.argv[2] ?? '.');
  const packed = await promisify(execFile)('npm', ['pack', '--silent', '--pack-destination', destination], {
    cwd: staging,
  });
  process.stdout.write(`${join(destination, packed.stdout.trim())}\n`);
} finally {
  await rm(staging, { recursive: true });
}

/** Resolves with the files that went into it. */
async function bundle(): Promise<string[]> {
  const { metafile } = await build({
    ...program,
    entryPoints: clientPrograms,
    outdir: join(staging, 'dist'),
    metafile: true,
    // Not the identifiers: that would take `keepNames`, which slows down the threads.
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: 'none',
  });
  return Object.keys(metafile.inputs);
}

function packageManifest() {
  const { version, license, engines } = manifest;
  return {
    name: 'bhatti',
    version,
    description: 'The command line of bhatti images: OCI images as bootable ext4 root filesystems',
    license,
    type: 'module',
    engines,
    bin: { bhatti: 'bin/bhatti.js' },
    files: ['bin', 'dist', 'LICENSE', 'README.md', 'THIRD-PARTY-LICENSES'],
    dependencies: { [POOL]: manifest.dependencies[POOL] },
    bundleDependencies: [POOL],
  };
}

/** Adds the directories of mke2fs and e2fsck, which `rootfs build` runs, and which the PATH of a plain user often lacks. */
function launcher(): string {
  return `#!/usr/bin/env node
process.env.PATH = \`\${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin\`;
await import('../dist/cli.js');
`;
}

/** The licences of the packages whose files were bundled. */
async function licences(inputs: readonly string[]): Promise<string> {
  const folders = inputs.flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []);
  const texts = await Promise.all(
    [...new Set(folders)].sort().map(async (folder) => {
      const files = await readdir(join(root, folder));
      const file = files.find((name) => /^licen[cs]e/i.test(name));
      if (file === undefined) throw new Error(`${folder} has no licence to pass on`);
      return `${folder.replace(/^.*node_modules\//, '')}\n\n${(await readFile(join(root, folder, file), 'utf8')).trim()}\n`;
    }),
  );
  return texts.join(`\n${'-'.repeat(80)}\n\n`);
}
