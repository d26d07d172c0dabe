import * as z from 'zod';

/**
 * What the CLI reads in the answers of the API, and no more: a server of another version may send more, and phases that this
 * one does not know. A test keeps it in line with `TaskView` of `@bhatti/tasks`.
 */

const step = z.object({ phase: z.string(), line: z.string() });

const layer = z.looseObject({ digest: z.string(), downloadedBytes: z.number(), totalBytes: z.number() });

export const taskStatus = z.enum(['queued', 'running', 'completed', 'failed', 'cancelled']);

export const task = z.looseObject({
  id: z.string(),
  type: z.string(),
  status: taskStatus,
  name: z.string(),
  ref: z.string(),
  /** The line of the step under way. */
  progress: z.string().nullable(),
  detail: z
    .looseObject({
      steps: z.array(step),
      /** Compressed bytes, while layers are downloaded. */
      downloadedBytes: z.number().optional(),
      totalBytes: z.number().optional(),
      layers: z.array(layer).optional(),
    })
    .nullable(),
  result: z
    .looseObject({
      image: z.string(),
      digest: z.string(),
      steps: z.array(step).default([]),
      warnings: z.array(z.string()).default([]),
    })
    .nullable(),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
  created_at: z.string().nullable(),
  started_at: z.string().nullable(),
  completed_at: z.string().nullable(),
});
export type Task = z.output<typeof task>;

export const importAnswer = z.object({ task_id: z.string(), status: taskStatus, name: z.string() });
export type ImportAnswer = z.output<typeof importAnswer>;

export const pullAnswer = z.union([
  importAnswer,
  z.object({ status: z.literal('exists'), image: z.string(), digest: z.string() }),
]);
export type PullAnswer = z.output<typeof pullAnswer>;

export const image = z.looseObject({
  name: z.string(),
  owner: z.string().optional(),
  ref: z.string(),
  digest: z.string(),
  platform: z.string(),
  size_bytes: z.number(),
  disk_bytes: z.number(),
  /** Of the ext4 file, in hex. */
  sha256: z.string().optional(),
  created_at: z.string(),
  /** The ext4 file, on the server. */
  path: z.string().optional(),
  warnings: z.array(z.string()).default([]),
  /** How the image wants to be run. */
  config: z
    .looseObject({
      entrypoint: z.array(z.string()).optional(),
      cmd: z.array(z.string()).optional(),
      user: z.string().optional(),
      workingDir: z.string().optional(),
    })
    .optional()
    .catch(undefined),
});
export type Image = z.output<typeof image>;

/** What a prune freed: bytes on the server's disk. */
export const pruned = z.looseObject({
  freed_bytes: z.number(),
  layers: z.number(),
  rootfs: z.number(),
  downloads: z.number().default(0),
});
export type Pruned = z.output<typeof pruned>;

/** The cursor of the page that follows; none where there is none, or the server knows no pages. */
const next = z.string().nullish();

export const imageList = z.looseObject({ images: z.array(image), next });
export const taskList = z.looseObject({ tasks: z.array(task), next });

const facts = z.record(z.string(), z.unknown());

/** The state of the server, for operators; which facts there are is up to the server. */
export const adminStatus = z.looseObject({
  version: z.string(),
  queue: facts,
  workers: z.array(
    z.looseObject({ name: z.string(), connected_at: z.string().nullish(), tasks: z.array(z.string()).optional() }),
  ),
  disk: facts,
  redis: facts,
});
export type AdminStatus = z.output<typeof adminStatus>;

export const health = z.looseObject({
  status: z.literal('ok'),
  version: z.string(),
  redis: z.enum(['ok', 'down']),
});
export type Health = z.output<typeof health>;

/** What `/ready` answers, by the name of each condition. */
export const readiness = z.looseObject({
  checks: z.record(z.string(), z.looseObject({ ok: z.boolean(), reason: z.string().optional() })),
});
export type Readiness = z.output<typeof readiness>;

/** The body of every error of the API. */
export const errorBody = z
  .looseObject({ error: z.string(), code: z.string().optional(), request_id: z.string().optional() })
  // Many other programs answer with `error` alone.
  .refine(({ code, request_id }) => code !== undefined || request_id !== undefined);

/** What `POST /images/pull` takes. */
export interface PullRequest {
  readonly ref: string;
  readonly name?: string;
  /** `user:token` for the registry. */
  readonly auth?: string;
  readonly platform?: string;
  /** A size as people write it: `2GB`. */
  readonly size?: string;
  /** Pull again although the very digest is there. */
  readonly force?: boolean;
}

/** The query of `POST /images/import`; its body is the archive. */
export interface ImportRequest {
  readonly name?: string;
  /** Which image of an archive with several, and the reference to record for it. */
  readonly ref?: string;
  /** The reference to record for an image that has no name in the archive. */
  readonly origin?: string;
  readonly platform?: string;
  readonly size?: string;
}
