import type { KeyObject } from 'node:crypto';
import { formatReference } from '@bhatti/oci';
import {
  cancelTask,
  enqueuePull,
  findTask,
  isTaskId,
  type ListTasksOptions,
  listTasks,
  type OwnedTask,
  sealCredentials,
  type TaskPage,
  type TaskView,
} from '@bhatti/tasks';
import type { Logger } from 'pino';
import { LongPoll, type WaitOptions } from './long-poll.ts';
import type { PullRequest } from './pull-request.ts';
import { type QueueAccess, RedisSession } from './redis-session.ts';

export interface TaskServiceOptions {
  readonly redisUrl: string;
  /** Seals credentials before they enter Redis. */
  readonly secretKey: KeyObject;
  readonly log: Logger;
}

/** The tasks in the queue, as routes use them. Every method throws ApiError 503 while Redis is away. */
export class TaskService {
  readonly #secretKey: KeyObject;
  readonly #session: RedisSession;
  readonly #longPoll: LongPoll<OwnedTask | null>;

  /** Throws TaskError invalid_request when the Redis URL is none. */
  constructor({ redisUrl, secretKey, log }: TaskServiceOptions) {
    this.#secretKey = secretKey;
    const longPoll = new LongPoll((id) => this.find(id));
    this.#longPoll = longPoll;
    this.#session = new RedisSession({
      url: redisUrl,
      log,
      onTask: (id) => longPoll.changed(id),
      onConnected: () => longPoll.changedAll(),
    });
  }

  /** Resolves when Redis has answered, or the time is over. */
  opened(milliseconds: number): Promise<void> {
    return this.#session.opened(milliseconds);
  }

  reachable(): Promise<boolean> {
    return this.#session.reachable();
  }

  /** Puts the pull on the queue. The id of its task; that of the pull under way, when there is an identical one. */
  async enqueuePull(owner: string, pull: PullRequest, requestId: string): Promise<string> {
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
    const { id } = await this.#session.use(({ queue }) => enqueuePull(queue, data));
    return id;
  }

  /** null when there is none, or no more: ended tasks are kept a week. */
  async find(id: string): Promise<OwnedTask | null> {
    if (!isTaskId(id)) return null;
    return this.#session.use(({ queue }) => findTask(queue, id));
  }

  /** A page of tasks, see `listTasks`. */
  list(options: ListTasksOptions): Promise<TaskPage> {
    return this.#session.use(({ queue }) => listTasks(queue, options));
  }

  /** Reads the task now and after each change until `decide` takes a state, or the time is over. See LongPoll. */
  async wait(id: string, decide: (task: OwnedTask | null) => boolean, options: WaitOptions): Promise<OwnedTask | null> {
    if (!isTaskId(id)) return null;
    return this.#longPoll.wait(id, decide, options);
  }

  /** The task after the request to cancel it. Throws TaskError not_found or task_ended. */
  async cancel(id: string): Promise<TaskView> {
    const view = await this.#session.use(({ queue, relay }) => cancelTask(queue, relay, id));
    // A waiting task changes without an event: who waits for it here is told.
    this.#longPoll.changed(id);
    return view;
  }

  /** Looks at the queue as operators do. */
  look<Result>(at: (access: QueueAccess) => Promise<Result>): Promise<Result> {
    return this.#session.use(at);
  }

  close(): Promise<void> {
    return this.#session.close();
  }
}
