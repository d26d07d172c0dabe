import * as z from 'zod';
import { isValidImageName } from './image-name.ts';

const byteCount = z.int().min(0);

/** What every task that makes an image is asked. */
const imageJobFields = {
  /** What the image is called where it comes from, as the user typed it. */
  requested: z.string(),
  /** Under which the image is registered. */
  name: z.string().refine(isValidImageName),
  /** `linux/arm64/v8`; the worker's own where left out. */
  platform: z.string().optional(),
  /** Exact size of the file system in bytes, where the user asked for one. */
  sizeBytes: byteCount.optional(),
  /** Whose images and tasks it belongs to. */
  owner: z.string().min(1),
  /** Make it anew although the digest is the one already there. */
  force: z.boolean().optional(),
  /** Of the API request that asked for it, for logs. */
  requestId: z.string().optional(),
  /** Somebody cancelled the task: a worker that picks it up ends it. */
  cancelRequested: z.boolean().optional(),
};

/** What a pull is asked to do: the data of its BullMQ job. */
export const PullJobData = z.object({
  /** What has none is a pull. */
  type: z.literal('pull').optional(),
  /** Canonical: `docker.io/library/python:3.12`. */
  reference: z.string().min(1),
  ...imageJobFields,
  /** Credentials for the registry, see `sealCredentials`. Gone when the task ends. */
  sealedAuth: z.string().optional(),
});
export type PullJobData = z.output<typeof PullJobData>;

/** What an import is asked to do: the data of its BullMQ job. The archive is the upload that has the id of the task. */
export const ImportJobData = z.object({
  type: z.literal('import'),
  /** Which image of the archive: a reference or a tag, as the archive has it. Left out, there must be one only. */
  reference: z.string().min(1).optional(),
  ...imageJobFields,
  /** Bytes of the archive. */
  archiveBytes: byteCount,
});
export type ImportJobData = z.output<typeof ImportJobData>;

/** The data of any job in the queue. */
export const TaskJobData = z.discriminatedUnion('type', [PullJobData, ImportJobData]);
export type TaskJobData = z.output<typeof TaskJobData>;

/** The sealed credentials of a task: of a pull, while it has not ended, where it was given some. */
export function sealedAuthOf(data: TaskJobData): string | undefined {
  return data.type === 'import' ? undefined : data.sealedAuth;
}

/** `reading` is an import's, in place of `resolving`. */
export const PullPhase = z.enum(['resolving', 'reading', 'downloading', 'flattening']);
export type PullPhase = z.output<typeof PullPhase>;

/** A phase and the latest line about it, as the CLI prints it, without indent: `resolving manifest...`. */
export const TaskStep = z.object({ phase: PullPhase, line: z.string() });
export type TaskStep = z.output<typeof TaskStep>;

/** How much of a layer is there, in compressed bytes. */
export const LayerProgress = z.object({ digest: z.string(), downloadedBytes: byteCount, totalBytes: byteCount });
export type LayerProgress = z.output<typeof LayerProgress>;

/** How far a running task is: the progress of its BullMQ job. */
export const TaskProgress = z.object({
  /** The latest line: `downloading layers (45 MB / 142 MB)...`. */
  line: z.string(),
  phase: PullPhase,
  /** Compressed bytes of the layers that are there. */
  downloadedBytes: byteCount.optional(),
  /** Compressed bytes of all layers. */
  totalBytes: byteCount.optional(),
  /** Each layer once, in the order of the image; while they are downloaded, and not of an image with over 128. */
  layers: z.array(LayerProgress).optional(),
  /** Every phase so far in order, each with its latest line. */
  steps: z.array(TaskStep),
});
export type TaskProgress = z.output<typeof TaskProgress>;

/** What a completed pull or import has to say: the return value of its BullMQ job. */
export const PullResult = z.object({
  /** Name of the image. */
  image: z.string(),
  /** Of the manifest: `sha256:<hex>`. */
  digest: z.string(),
  /** Virtual size of the ext4 file system. */
  sizeBytes: byteCount,
  steps: z.array(TaskStep),
  warnings: z.array(z.string()),
  /** What was there already: the built root filesystem, or all layers. */
  reused: z.enum(['rootfs', 'layers']).optional(),
});
export type PullResult = z.output<typeof PullResult>;
