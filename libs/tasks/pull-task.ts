import * as z from 'zod';
import { isValidImageName } from './image-name.ts';

const byteCount = z.int().min(0);

/** Job data of every task that makes an image. */
const imageJobFields = {
  /** The image's name at its source, as the user typed it. */
  requested: z.string(),
  /** The name of the image in the catalog. */
  name: z.string().refine(isValidImageName),
  /** `linux/arm64/v8`; by default, the worker's own. */
  platform: z.string().optional(),
  /** Exact size of the file system in bytes, if the user asked for one. */
  sizeBytes: byteCount.optional(),
  /** The user to whom the task and its image belong. */
  owner: z.string().min(1),
  /** Rebuild the image even if the digest is the one already pulled. */
  force: z.boolean().optional(),
  /** Id of the API request that asked for it, for logs. */
  requestId: z.string().optional(),
  /** The task was cancelled: a worker that picks it up ends it. */
  cancelRequested: z.boolean().optional(),
};

/** The data of a pull's BullMQ job. */
export const PullJobData = z.object({
  /** A job without a type is a pull. */
  type: z.literal('pull').optional(),
  /** Canonical: `docker.io/library/python:3.12`. */
  reference: z.string().min(1),
  ...imageJobFields,
  /** Credentials for the registry, see `sealCredentials`. Removed when the task ends. */
  sealedAuth: z.string().optional(),
});
export type PullJobData = z.output<typeof PullJobData>;

/** The data of an import's BullMQ job. The archive is the upload with the id of the task. */
export const ImportJobData = z.object({
  type: z.literal('import'),
  /** Which image of the archive, by the archive's reference or tag. By default, the only one. */
  reference: z.string().min(1).optional(),
  ...imageJobFields,
  /** Bytes of the archive. */
  archiveBytes: byteCount,
});
export type ImportJobData = z.output<typeof ImportJobData>;

/** The data of any job in the queue. */
export const TaskJobData = z.discriminatedUnion('type', [PullJobData, ImportJobData]);
export type TaskJobData = z.output<typeof TaskJobData>;

/** The sealed credentials of a task: only pulls have them, if they were given any, until they end. */
export function sealedAuthOf(data: TaskJobData): string | undefined {
  return data.type === 'import' ? undefined : data.sealedAuth;
}

/** The phases of a task. `reading` is an import's equivalent of `resolving`. */
export const PullPhase = z.enum(['resolving', 'reading', 'downloading', 'flattening']);
export type PullPhase = z.output<typeof PullPhase>;

/** A phase and the latest line about it, as the CLI prints it, without indent: `resolving manifest...`. */
export const TaskStep = z.object({ phase: PullPhase, line: z.string() });
export type TaskStep = z.output<typeof TaskStep>;

/** How much of a layer has been downloaded, in compressed bytes. */
export const LayerProgress = z.object({ digest: z.string(), downloadedBytes: byteCount, totalBytes: byteCount });
export type LayerProgress = z.output<typeof LayerProgress>;

/** The progress of a running task's BullMQ job. */
export const TaskProgress = z.object({
  /** The latest line: `downloading layers (45 MB / 142 MB)...`. */
  line: z.string(),
  phase: PullPhase,
  /** Compressed bytes downloaded so far. */
  downloadedBytes: byteCount.optional(),
  /** Compressed bytes of all layers. */
  totalBytes: byteCount.optional(),
  /** Each layer once, in the order of the image; only during the download, and for images with at most 128. */
  layers: z.array(LayerProgress).optional(),
  /** Every phase so far in order, each with its latest line. */
  steps: z.array(TaskStep),
});
export type TaskProgress = z.output<typeof TaskProgress>;

/** The result of a completed pull or import: the return value of its BullMQ job. */
export const PullResult = z.object({
  /** Name of the image. */
  image: z.string(),
  /** `sha256:<hex>` of the manifest. */
  digest: z.string(),
  /** Size of the ext4 file system, in bytes. */
  sizeBytes: byteCount,
  steps: z.array(TaskStep),
  warnings: z.array(z.string()),
  /** What was already in the cache: the built root filesystem, or all layers. */
  reused: z.enum(['rootfs', 'layers']).optional(),
});
export type PullResult = z.output<typeof PullResult>;
