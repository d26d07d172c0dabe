import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request } from 'undici';
import * as z from 'zod';

/** Ms within which the API must be back and answer. */
const PATIENCE = 90_000;
/** Of the images, which hold a few MB. At the default size, the SHA-256 of each would take 0.4 s more of CPU time. */
const SIZE = '64MiB';

const accepted = z.union([
  z.object({ task_id: z.string(), status: z.literal('queued') }),
  z.object({ status: z.literal('exists') }),
]);

const noSpace = z.object({ code: z.literal('no_space') });

/** A user of the API who tries again when there is no answer, or a 503. */
export class Client {
  readonly #agent: Agent;

  constructor(socketPath: string) {
    this.#agent = new Agent({ connect: { socketPath }, headersTimeout: 10_000 });
  }

  /** The id of the task; undefined when the image was there. */
  async pull(ref: string, name: string): Promise<string | undefined> {
    const { body } = await this.#ask('POST', '/images/pull', JSON.stringify({ ref, name, size: SIZE }));
    const answer = accepted.parse(body);
    return 'task_id' in answer ? answer.task_id : undefined;
  }

  /** The id of the task; undefined when the disk has no room for the archive. */
  async import(archive: Buffer, name: string, key: string): Promise<string | undefined> {
    const { body } = await this.#ask('POST', `/images/import?name=${name}&size=${SIZE}`, archive, {
      'idempotency-key': key,
    });
    const answer = z.union([accepted, noSpace]).parse(body);
    return 'task_id' in answer ? answer.task_id : undefined;
  }

  /** Asks for the task to be cancelled; one that has ended stays as it is. */
  async cancel(id: string): Promise<void> {
    await this.#ask('DELETE', `/tasks/${id}`);
  }

  /** Deletes an image if there is one of that name. */
  async deleteImage(name: string): Promise<void> {
    await this.#ask('DELETE', `/images/${name}`);
  }

  async prune(): Promise<void> {
    await this.#ask('POST', '/images/prune', '{}');
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }

  async #ask(method: 'POST' | 'DELETE', path: string, body: string | Buffer | null = null, headers = {}) {
    for (const deadline = Date.now() + PATIENCE; ; await sleep(200)) {
      try {
        const response = await request(`http://localhost${path}`, {
          dispatcher: this.#agent,
          method,
          body,
          headers,
        });
        const text = await response.body.text();
        const { statusCode: status } = response;
        if (status < 500 || status === 507) return { status, body: text === '' ? undefined : JSON.parse(text) };
        if (Date.now() > deadline || status !== 503) throw new Refused(`${method} ${path}: ${status} ${text}`);
      } catch (error) {
        if (error instanceof Refused || Date.now() > deadline) throw error;
      }
    }
  }
}

/** The API gave an answer that it should not. */
class Refused extends Error {
  override readonly name = 'Refused';
}
