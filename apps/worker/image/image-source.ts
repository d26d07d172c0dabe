import type { Descriptor, Resolution, ResolvedImage } from '@bhatti/oci';
import type { ProgressUpdate } from '@bhatti/tasks';

/** The image that a task makes a root filesystem of, wherever it comes from. */
export type SourceImage = Omit<ResolvedImage, 'reference'>;

export interface DownloadLayerOptions {
  readonly signal: AbortSignal;
  /** Called with the bytes in the file, at the start and each time some are added. */
  readonly onBytes: (totalBytesInFile: number) => void;
  /** The first download brought wrong bytes: avoid its source (a mirror) if there is another. */
  readonly again: boolean;
}

/** Where an image comes from, for one attempt at a task: a registry, or an archive that was uploaded. */
export interface ImageSource {
  /** As metrics call it. */
  readonly kind: 'registry' | 'archive';
  /** The progress to report while the image is being resolved. */
  readonly opening: ProgressUpdate;
  /** Whether the image is what it was at an earlier pull, where that is cheaper to find out than the image. */
  isUnchanged?(known: Resolution): Promise<boolean>;
  /** The image, chosen by reference and platform; manifest and config are checked. */
  resolve(): Promise<SourceImage>;
  /** Downloads the blob of a layer to a file. The reader checks the bytes, not this. */
  download(descriptor: Descriptor, path: string, options: DownloadLayerOptions): Promise<void>;
  /** The reference for the catalog. Known once the image is resolved. */
  readonly reference: string;
  close(): Promise<void>;
}
