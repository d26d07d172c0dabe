import { randomBytes } from 'node:crypto';
import type { DocumentedCommand } from './console-document.ts';
import { fileLayer } from './layer.ts';
import { type LayerSource, startRegistry, type TestRegistry } from './registry.ts';

const IMAGES = [
  ['library/python', '3.12'],
  ['library/alpine', '3.20'],
  ['library/node', '22-slim'],
  ['library/ubuntu', '24.04'],
  ['org/app', '1'],
] as const;

/** A registry with the images of the documentation, in place of Docker Hub and ghcr.io. Pulls can be held up. */
export class DocumentedImages {
  /** The layer that all of them are made from. */
  readonly base: LayerSource;
  readonly #registry: TestRegistry;
  /** By the name of the image: the digest of the layer that no other image has. */
  readonly #ownLayers = new Map<string, string>();
  readonly #held: (() => void)[] = [];

  private constructor(registry: TestRegistry, base: LayerSource) {
    this.#registry = registry;
    this.base = base;
  }

  static async open(): Promise<DocumentedImages> {
    const base = await fileLayer({
      'bin/sh': '#!\n',
      'etc/os-release': 'NAME=Demo\n',
      'usr/lib/blob': randomBytes(300_000),
    });
    const images = new DocumentedImages(await startRegistry(), base);
    for (const [repository, tag] of IMAGES) await images.#push(repository, tag);
    return images;
  }

  /** Of the registry, `host:port`. */
  get host(): string {
    return this.#registry.host;
  }

  /** Holds up the pull of a command that leaves it under way, until `release`. Returns whether it did. */
  hold({ command, output }: DocumentedCommand): boolean {
    const layer = this.#ownLayers.get(/image pull (\S+)/.exec(command)?.[1] ?? '');
    if (layer !== undefined && (output.includes('^C') || command.includes('--detach'))) {
      const until = new Promise<void>((resolve) => this.#held.push(resolve));
      this.#registry.plan({ path: layer, until });
      return true;
    }
    if (command.includes('task watch')) this.release();
    return false;
  }

  release(): void {
    this.#registry.clearFaults();
    for (const resolve of this.#held.splice(0)) resolve();
  }

  close(): Promise<void> {
    return this.#registry.close();
  }

  async #push(repository: string, tag: string): Promise<void> {
    const own = await fileLayer({ 'etc/image': `${repository}:${tag}\n` });
    const { layers } = this.#registry.pushImage({
      repository,
      tag,
      layers: [this.base, own],
      config: { Cmd: ['sh'], Env: ['A=1'] },
    });
    this.#ownLayers.set(`${repository.replace('library/', '')}:${tag}`, layers[1]?.digest ?? '');
  }
}
