import { rm } from 'node:fs/promises';
import {
  type ArchiveLimits,
  type Descriptor,
  formatReference,
  type ImageArchive,
  openArchive,
  parsePlatform,
  parseReference,
} from '@bhatti/oci';
import type { Store } from '@bhatti/store';
import type { ImportJobData } from '@bhatti/tasks';
import { WorkerError } from '../job/failure.ts';
import type { DownloadLayerOptions, ImageSource, SourceImage } from './image-source.ts';

export interface ArchiveSourceOptions {
  readonly store: Pick<Store, 'uploads'>;
  readonly limits: Partial<ArchiveLimits>;
  /** Of the task and its upload. */
  readonly id: string;
  readonly data: ImportJobData;
  readonly signal: AbortSignal;
}

/** An image of the archive that was uploaded for a task. The upload stays: it is removed when the task ends. */
export class ArchiveSource implements ImageSource {
  readonly kind = 'archive';
  readonly opening = { phase: 'reading', line: 'reading archive...' } as const;
  readonly #options: ArchiveSourceOptions;
  #scratch: string | undefined;
  #archive: ImageArchive | undefined;
  #names: readonly string[] = [];

  constructor(options: ArchiveSourceOptions) {
    this.#options = options;
  }

  get reference(): string {
    const { reference, requested, name } = this.#options.data;
    const names = this.#names.flatMap((each) => canonical(each) ?? []);
    const asked = canonical(reference);
    if (asked === undefined) return names[0] ?? canonical(requested) ?? reference ?? this.#names[0] ?? name;
    // A short name may be one of another registry, or of none: Podman calls what it built localhost/app.
    const short = asked.slice(asked.lastIndexOf('/'));
    return names.includes(asked) ? asked : (names.find((each) => each.endsWith(short)) ?? names[0] ?? asked);
  }

  async resolve(): Promise<SourceImage> {
    const { data, signal } = this.#options;
    const archive = await this.#open();
    const platform = data.platform === undefined ? {} : { platform: parsePlatform(data.platform) };
    const name = data.reference === undefined ? {} : { name: data.reference };
    const { names, ...image } = await archive.resolve({ ...name, ...platform, signal });
    this.#names = names;
    return image;
  }

  async download({ digest }: Descriptor, path: string, { signal, onBytes }: DownloadLayerOptions): Promise<void> {
    await (await this.#open()).extract(digest, path, { signal, onBytes });
  }

  async close(): Promise<void> {
    await this.#archive?.close();
    if (this.#scratch !== undefined) await rm(this.#scratch, { recursive: true, force: true });
  }

  async #open(): Promise<ImageArchive> {
    if (this.#archive !== undefined) return this.#archive;
    const { store, limits, id, signal } = this.#options;
    if ((await store.uploads.size(id)) === undefined) {
      throw new WorkerError(
        'upload_lost',
        'the archive of this import is not there any more: it goes when a task ends; import it again',
      );
    }
    this.#scratch ??= await store.uploads.makeScratch();
    const label = 'the uploaded archive';
    const options = { scratchDirectory: this.#scratch, label, limits, signal };
    this.#archive = await openArchive(store.uploads.path(id), options);
    return this.#archive;
  }
}

/** A digest by which an image is chosen where several have one name, or none: it would parse as a repository and a tag. */
const DIGEST = /^sha(?:256|512):[0-9a-f]+$/;

/** Undefined for a digest, and for a bare tag, which is all that OCI layouts often have: it would parse as a repository. */
function canonical(name: string | undefined): string | undefined {
  if (name === undefined || !/[:/]/.test(name) || DIGEST.test(name)) return undefined;
  try {
    return formatReference(parseReference(name));
  } catch {
    return undefined;
  }
}
