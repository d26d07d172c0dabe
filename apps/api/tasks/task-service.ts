import type { KeyObject } from 'node:crypto';
import { formatReference } from '@bhatti/oci';
import {
  admitTask,
  cancelTask,
  claimKey,
  createTaskId,
  enqueueImport,
  enqueuePull,
  findKeyedTask,
  findPullUnderWay,
  findTask,
  type KeyedRequest,
  type ListTasksOptions,
  listTasks,
  noteArrival,
  type OwnedTask,
  type RedisClient,
  repointKey,
  sealCredentials,
  type TaskLimits,
  type TaskPage,
  type TaskView,
  takeTurn,
} from '@bhatti/tasks';
import type { Telemetry } from 'bullmq';
import type { Logger } from 'pino';
import type { ImportRequest } from '../images/import-request.ts';
import type { PullRequest } from '../images/pull-request.ts';
import { LongPoll, type WaitOptions } from './long-poll.ts';
import { type QueueAccess, RedisSession } from './redis-session.ts';

export interface TaskServiceOptions {
  readonly redisUrl: string;
  /** Seals credentials before they enter Redis. */
  readonly secretKey: KeyObject;
  readonly limits: TaskLimits;
  readonly log: Logger;
  /** Carries traces into the queue. */
  readonly telemetry?: Telemetry | undefined;
}

/** The tasks in the queue, as routes use them. Every method throws ApiError 503 while Redis is away. */
export class TaskService {
  readonly #secretKey: KeyObject;
  readonly #limits: TaskLimits;
  readonly #session: RedisSession;
  readonly #longPoll: LongPoll<OwnedTask | null>;
  readonly #listeners = new Set<(id: string | null) => void>();

  /** Throws TaskError `invalid_request` for an invalid Redis URL. */
  constructor({ redisUrl, secretKey, limits, log, telemetry }: TaskServiceOptions) {
    this.#secretKey = secretKey;
    this.#limits = limits;
    const longPoll = new LongPoll((id) => this.find(id));
    this.#longPoll = longPoll;
    this.#session = new RedisSession({
      url: redisUrl,
      log,
      telemetry,
      onTask: (id) => this.#changed(id),
      onConnected: () => this.#changed(null),
    });
  }

  /** Resolves when tasks can be put on the queue, when Redis turns out to be away, or when the time is over. */
  opened(milliseconds: number, signal?: AbortSignal): Promise<void> {
    return this.#session.opened(milliseconds, signal);
  }

  reachable(): Promise<boolean> {
    return this.#session.reachable();
  }

  /**
   * Puts the pull on the queue. Resolves with the id of its task, or of an identical pull that is under way.
   * Rejects with TaskError too_many_tasks or queue_full.
   */
  async enqueuePull(
    owner: string,
    pull: PullRequest,
    { requestId, repeat }: { readonly requestId: string; readonly repeat?: KeyedRequest | undefined },
  ): Promise<string> {
    const { credentials, reference } = pull;
    const data = {
      reference: formatReference(reference),
      requested: pull.requested,
      name: pull.name,
      platform: pull.platform,
      sizeBytes: pull.sizeBytes,
      owner,
      sealedAuth: credentials && sealCredentials(credentials, this.#secretKey, reference.domain),
      force: pull.force || undefined,
      requestId,
    };
    return this.#session.use(async ({ queue, redis }) => {
      const underWay = await findPullUnderWay(queue, data);
      if (underWay !== null) {
        if (repeat !== undefined && (await claimKey(redis, repeat, underWay)) !== underWay)
          await repointKey(redis, repeat, underWay);
        return underWay;
      }
      // The key first: should we crash in between, the request sent again queues this very task.
      const claimed = await this.#admit(redis, owner, repeat);
      const { id } = await enqueuePull(queue, data, { id: claimed, priority: await takeTurn(redis, owner) });
      if (repeat !== undefined && id !== claimed) await repointKey(redis, repeat, id);
      return id;
    });
  }

  /** The id of the task of an earlier request with the same key; null when there was none, or it did not get to queue one. */
  async findRepeated(request: KeyedRequest): Promise<string | null> {
    return this.#session.use(async ({ queue, redis }) => {
      const id = await findKeyedTask(redis, request);
      return id !== null && (await findTask(queue, id)) !== null ? id : null;
    });
  }

  /**
   * Admits an import before its upload is read. Resolves with the id for its task and upload: a new one, or that of an earlier
   * request with the same key that was cut off. Rejects as `enqueuePull` does.
   */
  async admitImport(owner: string, repeat: KeyedRequest | undefined): Promise<string> {
    return this.#session.use(({ redis }) => this.#admit(redis, owner, repeat));
  }

  async #admit(redis: RedisClient, owner: string, repeat: KeyedRequest | undefined): Promise<string> {
    const asked = createTaskId();
    const id = repeat === undefined ? asked : await claimKey(redis, repeat, asked);
    await admitTask(redis, { id, owner }, this.#limits);
    return id;
  }

  /** For a minute, keeps an upload whose task is not queued yet from being collected as an orphan. */
  noteArrival(id: string): Promise<void> {
    return this.#session.use(({ redis }) => noteArrival(redis, id));
  }

  /** Puts the import of an upload on the queue. */
  async enqueueImport(
    owner: string,
    asked: ImportRequest & { readonly name: string },
    { id, archiveBytes, requestId }: { readonly id: string; readonly archiveBytes: number; readonly requestId: string },
  ): Promise<void> {
    const data = {
      type: 'import',
      reference: asked.reference,
      requested: asked.reference ?? asked.origin ?? asked.name,
      name: asked.name,
      platform: asked.platform,
      sizeBytes: asked.sizeBytes,
      owner,
      force: asked.force || undefined,
      requestId,
      archiveBytes,
    } as const;
    await this.#session.use(async ({ queue, redis }) => {
      await enqueueImport(queue, data, { id, priority: await takeTurn(redis, owner) });
    });
  }

  /** null for one that is unknown, or forgotten: ended tasks are kept a week. */
  find(id: string): Promise<OwnedTask | null> {
    return this.#session.use(({ queue }) => findTask(queue, id));
  }

  /** A page of tasks, see `listTasks`. */
  list(options: ListTasksOptions): Promise<TaskPage> {
    return this.#session.use(({ queue }) => listTasks(queue, options));
  }

  /** Reads the task now and after each change until `decide` accepts a state, or the time is over. See LongPoll. */
  wait(id: string, decide: (task: OwnedTask | null) => boolean, options: WaitOptions): Promise<OwnedTask | null> {
    return this.#longPoll.wait(id, decide, options);
  }

  /** The task after the request to cancel it. Throws TaskError not_found or task_ended. */
  async cancel(id: string): Promise<TaskView> {
    const view = await this.#session.use(({ queue, relay }) => cancelTask(queue, relay, id));
    // Cancelling a waiting task causes no event: notify those who wait for it here.
    this.#changed(id);
    return view;
  }

  /** Calls the listener with the id of each task that may have changed, null for all. Returns the function that ends this. */
  onChange(listener: (id: string | null) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #changed(id: string | null): void {
    if (id === null) this.#longPoll.changedAll();
    else this.#longPoll.changed(id);
    for (const listener of this.#listeners) listener(id);
  }

  /** Runs commands on the queue, or on Redis itself, for which there is no method here. */
  withQueue<Result>(commands: (access: QueueAccess) => Promise<Result>): Promise<Result> {
    return this.#session.use(commands);
  }

  close(): Promise<void> {
    return this.#session.close();
  }
}
