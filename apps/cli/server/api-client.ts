import { CliError } from '../cli-error.ts';
import { ApiConnection, type ApiConnectionOptions } from './api-connection.ts';
import { notBhatti } from './api-error.ts';
import * as schema from './api-schema.ts';
import type { Endpoint, HttpAnswer, Upload } from './http-connection.ts';
import { readPages } from './pages.ts';

/** The API over HTTP. Every method rejects with ApiError, UnreachableError, or CliError (`not_bhatti` for a nonsensical answer). */
export class ApiClient {
  readonly #api: ApiConnection;

  constructor(endpoint: Endpoint, options: ApiConnectionOptions = {}) {
    this.#api = new ApiConnection(endpoint, options);
  }

  get endpoint(): Endpoint {
    return this.#api.endpoint;
  }

  health(timeout: number): Promise<schema.Health> {
    return this.#api.call(schema.health, { method: 'GET', path: '/health', timeout });
  }

  /** Whether a task requested now would be done, and if not, why; `timeout` in ms. */
  readiness(timeout: number): Promise<schema.Readiness> {
    return this.#api.call(schema.readiness, { method: 'GET', path: '/ready', timeout }, 503);
  }

  pull(body: schema.PullRequest): Promise<schema.PullAnswer> {
    return this.#api.call(schema.pullAnswer, { method: 'POST', path: '/images/pull', body });
  }

  /** Sends an archive of an image (what `docker save` writes) and has it made into an image. */
  importImage(
    archive: Upload,
    { name, ref, origin, platform, size }: schema.ImportRequest,
  ): Promise<schema.ImportAnswer> {
    const query = new URLSearchParams();
    for (const [key, value] of Object.entries({ name, ref, origin, platform, size })) {
      if (value !== undefined) query.set(key, value);
    }
    return this.#api.call(schema.importAnswer, {
      method: 'POST',
      path: `/images/import?${query}`,
      upload: archive,
      headers: { 'content-type': 'application/octet-stream' },
    });
  }

  /** The task. With `poll`, once its progress line is not `seen` any more ('' for none), it has ended, or `wait` seconds are over. */
  task(id: string, poll?: { wait: number; seen: string }): Promise<schema.Task> {
    return this.#api.call(schema.task, { method: 'GET', path: `${taskPath(id)}${pollQuery(poll)}` });
  }

  /**
   * Every state of the task as the server reports it, until the server ends the stream after the end of the task. A stream on
   * which nothing arrives for `silence` ms counts as broken.
   */
  taskEvents(id: string, wait: { signal: AbortSignal; silence: number }): AsyncIterable<schema.Task> {
    return this.#api.events(schema.task, 'task', { method: 'GET', path: `${taskPath(id)}/events`, ...wait });
  }

  cancelTask(id: string): Promise<schema.Task> {
    return this.#api.call(schema.task, { method: 'DELETE', path: taskPath(id) });
  }

  /** The newest tasks first, `limit` at most. */
  tasks({ status, limit }: { status?: string; limit: number }): Promise<schema.Task[]> {
    return readPages(limit, async (page) => {
      const query = new URLSearchParams({ ...(status !== undefined && { status }), ...page });
      const { tasks, next } = await this.#api.call(schema.taskList, { method: 'GET', path: `/tasks?${query}` });
      return { items: tasks, next };
    });
  }

  images(): Promise<schema.Image[]> {
    return readPages(Number.POSITIVE_INFINITY, async (page) => {
      // No query for the first page: an older server has no pages, and sends everything.
      const path = page.cursor === undefined ? '/images' : `/images?${new URLSearchParams(page)}`;
      const { images, next } = await this.#api.call(schema.imageList, { method: 'GET', path });
      return { items: images, next };
    });
  }

  /** The caller's image of that name, else a shared one; with `owner`, that owner's. */
  image(name: string, owner?: string): Promise<schema.Image> {
    return this.#api.call(schema.image, { method: 'GET', path: imagePath(name, '', owner) });
  }

  /** The ext4 file of an image; from byte `from` on if the server still has the file of that `etag`, else all of it. */
  async rootfs(name: string, resume?: { from: number; etag: string }): Promise<HttpAnswer> {
    const answer = await this.#api.open({
      method: 'GET',
      path: imagePath(name, '/rootfs', undefined),
      headers: {
        accept: '*/*',
        'accept-encoding': 'identity',
        ...(resume !== undefined && { range: `bytes=${resume.from}-`, 'if-range': resume.etag }),
      },
    });
    // The page of a login or a proxy must not end up as a file system.
    if (answer.headers['content-type']?.startsWith('application/octet-stream')) return answer;
    answer.body.destroy();
    throw notBhatti(this.endpoint, undefined);
  }

  async deleteImage(name: string, owner?: string): Promise<void> {
    const { status } = await this.#api.ask({ method: 'DELETE', path: imagePath(name, '', owner) });
    // Any other success is not from a bhatti server, and has deleted nothing.
    if (status !== 204) throw notBhatti(this.endpoint, undefined);
  }

  /** Lets everybody see and use the image, or takes that back. */
  shareImage(name: string, shared: boolean, owner?: string): Promise<schema.Image> {
    const method = shared ? 'PUT' : 'DELETE';
    return this.#api.call(schema.image, { method, path: imagePath(name, '/share', owner) });
  }

  /** Removes what nothing needs from the server's disk; with `dryRun` only says what it would remove. */
  prune(dryRun: boolean): Promise<schema.Pruned> {
    return this.#api.call(schema.pruned, { method: 'POST', path: '/images/prune', body: { dry_run: dryRun } });
  }

  adminStatus(): Promise<schema.AdminStatus> {
    return this.#api.call(schema.adminStatus, { method: 'GET', path: '/admin/status' });
  }

  close(): void {
    this.#api.close();
  }
}

function imagePath(name: string, below: string, owner: string | undefined): string {
  if (name === '') throw new CliError('invalid_name', 'the name of the image is empty');
  const query = owner === undefined ? '' : `?${new URLSearchParams({ owner })}`;
  return `/images/${encodeURIComponent(name)}${below}${query}`;
}

function taskPath(id: string): string {
  if (id === '') throw new CliError('not_found', 'the id of the task is empty');
  return `/tasks/${encodeURIComponent(id)}`;
}

function pollQuery(poll: { wait: number; seen: string } | undefined): string {
  if (poll === undefined) return '';
  return `?${new URLSearchParams({ wait: String(poll.wait), seen: poll.seen })}`;
}
