import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { imageArchive } from './archive.ts';
import { fileLayer } from './layer.ts';
import type { LayerSource } from './registry.ts';

const program = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

/**
 * A machine on which the commands of the documentation run unchanged: `bhatti` is on the PATH, and a folder has the files that they
 * name. Its Docker can only save.
 */
export class DocumentedMachine {
  /** Where commands run. */
  readonly work: string;
  readonly home: string;
  /** The data directory. */
  readonly data: string;
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
    this.work = join(directory, 'work');
    this.home = join(directory, 'home');
    this.data = join(directory, 'data');
  }

  /** @param base a layer that makes an image */
  static async open(base: LayerSource): Promise<DocumentedMachine> {
    const machine = new DocumentedMachine(await mkdtemp(join(tmpdir(), 'bhatti-documented-')));
    for (const path of [machine.work, machine.home, machine.data, machine.#files, machine.#bin]) await mkdir(path);
    await machine.#writeFiles(base);
    await machine.#writePrograms();
    return machine;
  }

  get env(): NodeJS.ProcessEnv {
    return {
      PATH: `${this.#bin}:${process.env.PATH}:/usr/sbin:/sbin`,
      HOME: this.home,
      BHATTI_DATA_DIR: this.data,
      BHATTI_LISTEN: '127.0.0.1:0',
    };
  }

  /** Restores its first state, with nothing pulled. `registry` (`host:port`) replaces Docker Hub and ghcr.io. */
  async reset(registry: string): Promise<void> {
    for (const path of [this.home, this.work, this.data]) await rm(path, { recursive: true, force: true });
    for (const path of [this.data, this.home]) await mkdir(path, { mode: 0o700 });
    await cp(this.#files, this.work, { recursive: true });
    const mirrors = { mirrors: [registry] };
    const registries = { 'docker.io': mirrors, 'ghcr.io': mirrors };
    await writeFile(join(this.data, 'registries.yaml'), JSON.stringify({ registries }));
  }

  /** A text with the paths that a reader would see. */
  withUsualPaths(text: string): string {
    return text.replaceAll(this.data, '/var/lib/bhatti').replaceAll(this.home, '~').replaceAll(this.work, '.');
  }

  close(): Promise<void> {
    return rm(this.#directory, { recursive: true, force: true });
  }

  /** The work folder as it is at the start of a page. */
  get #files(): string {
    return join(this.#directory, 'files');
  }

  get #bin(): string {
    return join(this.#directory, 'bin');
  }

  async #writeFiles(base: LayerSource): Promise<void> {
    const archive = await imageArchive('docker', [{ tags: ['app:1'], tars: [base.tar] }]);
    const files: Record<string, string | Buffer> = {
      'image.tar': archive,
      'alpine.tar': archive,
      'base.tar': base.tar,
      'app.tar.gz': gzipSync((await fileLayer({ 'srv/app': 'app\n' })).tar),
      credentials: 'user:token\n',
    };
    for (const [name, content] of Object.entries(files)) await writeFile(join(this.#files, name), content);
    const layout = join(this.#directory, 'layout.tar');
    await writeFile(layout, await imageArchive('oci', [{ tags: ['app:1'], tars: [base.tar] }]));
    await mkdir(join(this.#files, 'layout'));
    await promisify(execFile)('tar', ['-xf', layout, '-C', join(this.#files, 'layout')]);
  }

  async #writePrograms(): Promise<void> {
    const programs = {
      bhatti: `exec '${process.execPath}' '${program}' "$@"`,
      docker: `exec cat '${join(this.#files, 'image.tar')}'`,
    };
    for (const [name, script] of Object.entries(programs)) {
      await writeFile(join(this.#bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    }
  }
}
