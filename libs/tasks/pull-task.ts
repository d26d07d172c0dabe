import { z } from 'zod';
import { isValidImageName } from './image-name.ts';

const byteCount = z.int().min(0);

/** What a pull is asked to do: the data of its BullMQ job. */
export const PullJobData = z.object({
  /** Canonical: `docker.io/library/python:3.12`. */
  reference: z.string().min(1),
  /** As the user typed it. */
  requested: z.string(),
  /** Under which the image is registered. */
  name: z.string().refine(isValidImageName),
  /** `linux/arm64/v8`; the worker's own where left out. */
  platform: z.string().optional(),
  /** Exact size of the file system in bytes, where the user asked for one. */
  sizeBytes: byteCount.optional(),
  /** Whose images and tasks it belongs to. */
  owner: z.string().min(1),
  /** Credentials for the registry, see `sealCredentials`. Gone when the task ends. */
  sealedAuth: z.string().optional(),
  /** Pull again although the digest is the one already there. */
  force: z.boolean().optional(),
  /** Of the API request that asked for it, for logs. */
  requestId: z.string().optional(),
  /** Somebody cancelled the task: a worker that picks it up ends it. */
  cancelRequested: z.boolean().optional(),
});
export type PullJobData = z.output<typeof PullJobData>;

export const PullPhase = z.enum(['resolving', 'downloading', 'flattening']);
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
  /** Each layer once, in the order of the image; while they are downloaded. */
  layers: z.array(LayerProgress).optional(),
  /** Every phase so far in order, each with its latest line. */
  steps: z.array(TaskStep),
});
export type TaskProgress = z.output<typeof TaskProgress>;

/** What a completed pull has to say: the return value of its BullMQ job. */
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
