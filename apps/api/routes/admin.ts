import { statfs } from 'node:fs/promises';
import { type RedisInfo, readRedisInfo, type TaskJob } from '@bhatti/tasks';
import { AdminStatus } from '../api-schema.ts';
import { ApiError } from '../request/errors.ts';
import { defineRoute, noBody, noQuery, type Route } from '../request/route.ts';
import type { Services } from '../services.ts';
import { type QueueState, readQueueState } from '../tasks/queue-state.ts';
import { version } from '../version.ts';

/** Active tasks that are read, at most, to find which worker has them. */
const mostActive = 1000;

/** For operators: it shows every owner's work. */
export function adminRoutes({ tasks, store }: Pick<Services, 'tasks' | 'store'>): Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/admin/status',
      summary: 'Queue, workers and what they run, disk, Redis. For admins.',
      query: noQuery,
      body: noBody,
      answers: { 200: { description: 'How the service is.', schema: AdminStatus } },
      handle: async ({ caller }) => {
        if (!caller.admin) throw new ApiError(403, 'forbidden', 'the status is for admins: send the token of one');
        const [{ state, active, redis }, { bavail, blocks, bsize }] = await Promise.all([
          tasks.withQueue(async (access) => {
            const [state, active, redis] = await Promise.all([
              readQueueState(access.queue),
              access.queue.getJobs(['active'], 0, mostActive - 1),
              readRedisInfo(access.redis),
            ]);
            return { state, active, redis };
          }),
          statfs(store.directory),
        ]);
        const disk = { free_bytes: bavail * bsize, size_bytes: blocks * bsize };
        return {
          status: 200,
          body: { version, queue: queueOf(state), workers: workersOf(state, active), disk, redis: redisOf(redis) },
        };
      },
    }),
  ];
}

function queueOf({ tasks, isPaused, oldestWaitingSeconds }: QueueState): AdminStatus['queue'] {
  const { waiting = 0, active = 0, delayed = 0, failed = 0, completed = 0 } = tasks;
  return {
    waiting,
    active,
    delayed,
    failed,
    completed,
    paused: isPaused,
    oldest_waiting_seconds: Math.round(oldestWaitingSeconds),
  };
}

function workersOf({ workers }: QueueState, active: readonly TaskJob[]): AdminStatus['workers'] {
  return workers.map(({ name, connectedAt }) => ({
    name,
    connected_at: connectedAt?.toISOString() ?? null,
    // A job that ends while the list is read is undefined in it.
    tasks: active.flatMap((job) => (job?.processedBy === name && job.id !== undefined ? [job.id] : [])),
  }));
}

function redisOf(info: RedisInfo): AdminStatus['redis'] {
  return {
    version: `${info.product} ${info.version ?? 'unknown'}`,
    memory_used_bytes: info.memoryUsedBytes,
    memory_limit_bytes: info.memoryLimitBytes,
    maxmemory_policy: info.maxmemoryPolicy ?? 'unknown',
    clients: info.clients,
    uptime_seconds: info.uptimeSeconds,
  };
}
