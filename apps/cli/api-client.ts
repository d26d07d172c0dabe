import type { Readable } from 'node:stream';
import { ApiConnection, type ApiConnectionOptions } from './api-connection.ts';
import { notBhatti } from './api-error.ts';
import * as schema from './api-schema.ts';
import { CliError } from './cli-error.ts';
import type { Endpoint, HttpAnswer } from './http-connection.ts';
import { readPages } from './pages.ts';

/** The API over HTTP. Every method rejects with ApiError, UnreachableError, or CliError `not_bhatti` for garbage. */
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

  pull(body: schema.PullRequest): Promise<schema.PullAnswer> {
    return this.#api.call(schema.pullAnswer, { method: 'POST', path: '/images/pull', body });
  }

  /** Sends an archive of an image (what `docker save` writes) and has it made into an image. */
  importImage(archive: Readable, { name, ref, platform, size }: schema.ImportRequest): Promise<schema.ImportAnswer> {
    const query = new URLSearchParams();
    for (const [key, value] of Object.entries({ name, ref, platform, size })) {
      if (value !== undefined) query.set(key, value);
    }
    return this.#api.call(schema.importAnswer, {
      method: 'POST',
      path: `/images/import?${query}`,
      upload: archive,
      headers: { 'content-type': 'application/octet-stream' },
    });
  }

  /** The task; with `wait` (seconds) answered when its progress line is no longer `seen` ('' for none), it ended, or the time is over. */
  task(id: string, poll?: { wait: number; seen: string }): Promise<schema.Task> {
    return this.#api.call(schema.task, { method: 'GET', path: `${taskPath(id)}${pollQuery(poll)}` });
  }

  /**
   * Every state of the task as the server tells it, until the server ends the stream, which it does after the end of the task.
   * `silence` in ms: a stream on which nothing comes for so long is broken.
   */
  taskEvents(id: string, wait: { signal: AbortSignal; silence: number }): AsyncIterable<schema.Task> {
    return this.#api.events(schema.task, 'task', { method: 'GET', path: `${taskPath(id)}/events`, ...wait });
  }

  cancelTask(id: string): Promise<schema.Task> {
    return this.#api.call(schema.task, { method: 'DELETE', path: taskPath(id) });
  }

  /** The newest first, `limit` at most. */
  tasks({ status, limit }: { status?: string; limit: number }): Promise<schema.Task[]> {
    return readPages(limit, async (page) => {
      const query = new URLSearchParams({ ...(status !== undefined && { status }), ...page });
      const { tasks, next } = await this.#api.call(schema.taskList, { method: 'GET', path: `/tasks?${query}` });
      return { items: tasks, next };
    });
  }

  images(): Promise<schema.Image[]> {
    return readPages(Number.POSITIVE_INFINITY, async (page) => {
      // The first page is asked for as ever: servers that know no pages send everything.
      const path = page.cursor === undefined ? '/images' : `/images?${new URLSearchParams(page)}`;
      const { images, next } = await this.#api.call(schema.imageList, { method: 'GET', path });
      return { items: images, next };
    });
  }

  /** The own image of that name, else one that is shared; with `owner` that owner's. */
  image(name: string, owner?: string): Promise<schema.Image> {
    return this.#api.call(schema.image, { method: 'GET', path: imagePath(name, '', owner) });
  }

  /** The ext4 file of an image, from byte `from` on where the server still has the file of that `etag`. */
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
    // The page of a login or of a proxy must not become a file system.
    if (answer.headers['content-type']?.startsWith('application/octet-stream')) return answer;
    answer.body.destroy();
    throw notBhatti(this.endpoint, undefined);
  }

  async deleteImage(name: string, owner?: string): Promise<void> {
    const { status } = await this.#api.ask({ method: 'DELETE', path: imagePath(name, '', owner) });
    // Whatever else says "well done" has deleted nothing.
    if (status !== 204) throw notBhatti(this.endpoint, undefined);
  }

  /** Lets everybody see and use the image, or takes that back. */
  shareImage(name: string, shared: boolean, owner?: string): Promise<schema.Image> {
    const method = shared ? 'PUT' : 'DELETE';
    return this.#api.call(schema.image, { method, path: imagePath(name, '/share', owner) });
  }

  /** Removes what nothing needs from the server's disk; with `dryRun` tells what would go. */
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
