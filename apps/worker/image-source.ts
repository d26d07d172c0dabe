import type { Descriptor, ResolvedImage } from '@bhatti/oci';
import type { ProgressUpdate } from '@bhatti/tasks';

/** What a task makes a root filesystem of, wherever it comes from. */
export type SourceImage = Omit<ResolvedImage, 'reference'>;

export interface DownloadLayerOptions {
  readonly signal: AbortSignal;
  /** Called with the bytes in the file: those that are there at the start, and each time some are added. */
  readonly onBytes: (totalBytesInFile: number) => void;
  /** What came the first time were the wrong bytes: ask somebody else for them, where there is one. */
  readonly again: boolean;
}

/** Where an image comes from, for one attempt at a task: a registry, or an archive that was uploaded. */
export interface ImageSource {
  /** As metrics call it. */
  readonly kind: 'registry' | 'archive';
  /** What is told while the image is looked for. */
  readonly opening: ProgressUpdate;
  /** Digest of the image's manifest, where that can be had for less than the image. */
  digest?(): Promise<string>;
  /** The image, chosen by reference and platform; manifest and config are checked. */
  resolve(): Promise<SourceImage>;
  /** Brings the blob of a layer to a file. Its bytes are not checked here: who reads them does that. */
  download(descriptor: Descriptor, path: string, options: DownloadLayerOptions): Promise<void>;
  /** What the catalog says the image comes from. Known once it is resolved. */
  readonly reference: string;
  close(): Promise<void>;
}
