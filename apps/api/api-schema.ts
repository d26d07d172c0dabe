import { ImageConfigRecord } from '@bhatti/store';
import { TaskStatus, TaskView } from '@bhatti/tasks';
import * as z from 'zod';

/**
 * Every body of the API, in the form that requests are validated against, the OpenAPI document is made from, and tests hold
 * answers to. Sizes are bytes, times ISO 8601.
 */

function text(maximum: number, what: string) {
  return z
    .string({ error: (issue) => (issue.input === undefined ? `is missing: give ${what}` : `must be text: ${what}`) })
    .min(1, { error: `is empty: give ${what}, or leave the field out` })
    .max(maximum, { error: `is longer than ${maximum} characters: give ${what}` })
    .describe(what);
}

export const PullBody = z.strictObject({
  ref: text(1024, 'an image reference such as "python:3.12"'),
  name: text(256, 'a name for the image').optional(),
  auth: text(16_384, 'credentials of the registry as "user:token"').optional(),
  platform: text(64, 'a platform such as "linux/arm64"').optional(),
  size: z
    .union([z.string().max(64), z.number()], { error: 'must be a size: "2GB", "512MB" or a number of bytes' })
    .describe('the size of the file system: "2GB", "4GiB" or a number of bytes')
    .optional(),
  force: z
    .boolean({ error: 'must be true or false' })
    .describe('pull again even if that digest is already there')
    .optional(),
});

export const ImportQuery = z.strictObject({
  name: text(
    256,
    'a name for the image; derived from ref or origin, else from what an uncompressed archive calls it',
  ).optional(),
  ref: text(1024, 'which image of the archive, by its name there: "python:3.12"').optional(),
  origin: text(
    1024,
    'the reference of the only image of an archive that has no name for it, to be recorded: "python@sha256:…"',
  ).optional(),
  platform: text(64, 'a platform such as "linux/arm64"').optional(),
  size: text(64, 'the size of the file system: "2GB", "4GiB" or a number of bytes').optional(),
  force: z
    .enum(['true', 'false'], { error: 'must be true or false' })
    .describe('import again even if that image is already there')
    .optional(),
});

export const Queued = z.object({ task_id: z.string(), status: z.literal('queued'), name: z.string() });

export const AlreadyThere = z.object({ status: z.literal('exists'), image: z.string(), digest: z.string() });

export const PruneBody = z
  .strictObject({
    dry_run: z
      .boolean({ error: 'must be true or false' })
      .describe('remove nothing, report what would be removed')
      .optional(),
  })
  .optional();

export const Pruned = z.object({
  freed_bytes: z.int().min(0).describe('bytes on disk'),
  layers: z.int().min(0).describe('cached layers'),
  rootfs: z.int().min(0).describe('root filesystems without a name'),
  downloads: z.int().min(0).describe('partial downloads that no task continues'),
  dry_run: z.boolean().describe('nothing was removed'),
});

export const ImageView = z.object({
  name: z.string(),
  owner: z.string().describe('the user it belongs to'),
  shared: z.boolean().describe('everybody may see and use it'),
  ref: z.string().describe('canonical reference that it was pulled from'),
  digest: z.string().describe("digest of the image's manifest"),
  platform: z.string(),
  size_bytes: z.int().min(0).describe('size of the file system: what the sandbox sees as its disk'),
  disk_bytes: z.int().min(0).describe("what the sparse file takes on the server's disk"),
  sha256: z
    .string()
    .optional()
    .describe(
      'SHA-256 of the ext4 file, in hex; only for a single image, and once it is computed, soon after the build',
    ),
  created_at: z.iso.datetime(),
  path: z.string().describe('the ext4 file, on the server'),
  warnings: z.array(z.string()),
  config: ImageConfigRecord.describe('how the image is meant to be run: env, cmd, entrypoint, user, ...'),
});
export type ImageView = z.output<typeof ImageView>;

const next = z.string().nullable().describe('the ?cursor= of the next page, null at the end');

export const ImageList = z.object({ images: z.array(ImageView), next });

export const TaskList = z.object({ tasks: z.array(TaskView), next });

export const Health = z.object({ status: z.literal('ok'), version: z.string(), redis: z.enum(['ok', 'down']) });

const check = z.object({
  ok: z.boolean(),
  reason: z.string().optional().describe('what is wrong, or why nothing was checked'),
});

export const Readiness = z.object({
  status: z.enum(['ready', 'not_ready']),
  checks: z.object({
    redis: check.describe('the task queue answers, and takes tasks'),
    data_dir: check.describe('the data directory can be written to'),
    worker: check.describe('a worker is connected to the queue'),
    e2fsprogs: check.describe('mke2fs and e2fsck are installed; checked if a worker runs on the host of the API'),
  }),
});
export type Readiness = z.output<typeof Readiness>;

const count = z.int().min(0);

export const AdminStatus = z.object({
  version: z.string(),
  queue: z.object({
    waiting: count,
    active: count,
    delayed: count.describe('waiting for a retry'),
    failed: count.describe('kept a week'),
    completed: count.describe('kept a week'),
    paused: z.boolean(),
    oldest_waiting_seconds: count,
  }),
  workers: z.array(
    z.object({
      name: z.string().describe('host:pid'),
      connected_at: z.iso.datetime().nullable().describe('since when Redis has its connection'),
      tasks: z.array(z.string()).describe('ids of the tasks that it runs'),
    }),
  ),
  disk: z.object({ free_bytes: count, size_bytes: count }).describe('of the data directory'),
  redis: z.object({
    version: z.string(),
    memory_used_bytes: count,
    memory_limit_bytes: count.describe('0 for none'),
    maxmemory_policy: z.string().describe('must be noeviction, or tasks get lost'),
    clients: count,
    uptime_seconds: count,
  }),
});
export type AdminStatus = z.output<typeof AdminStatus>;

export const Problem = z.strictObject({
  error: z.string().min(1).describe('what was wrong and what to do, for people'),
  code: z
    .string()
    .regex(/^[a-z][a-z0-9_]*$/)
    .describe('stable, for programs'),
  request_id: z.string().describe('as in the X-Request-Id header and the log of the server'),
});

/** The schemas that have a name in the OpenAPI document. One that a route uses must stand here. */
export const namedSchemas: Readonly<Record<string, z.ZodType>> = {
  AdminStatus,
  AlreadyThere,
  Health,
  ImageList,
  ImageView,
  Problem,
  PruneBody,
  Pruned,
  PullBody,
  Queued,
  Readiness,
  TaskList,
  TaskStatus,
  TaskView,
};

/** Throws when the schema has no name. */
export function nameOfSchema(schema: z.ZodType): string {
  const named = Object.entries(namedSchemas).find(([, one]) => one === schema);
  if (named === undefined) throw new Error('a schema that a route names is missing in namedSchemas');
  return named[0];
}
