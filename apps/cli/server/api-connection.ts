import type { IncomingHttpHeaders } from 'node:http';
import { text as readText } from 'node:stream/consumers';
import type * as z from 'zod';
import { CliError } from '../cli-error.ts';
import { failedRequest, notBhatti, redirected, refusal, unreachable } from './api-error.ts';
import { type Endpoint, type HttpAnswer, HttpConnection, type HttpRequest } from './http-connection.ts';
import type { RequestTiming } from './timing.ts';

export interface ApiConnectionOptions {
  readonly onTiming?: (timing: RequestTiming) => void;
  /** Called with the server's version for every answer that has it. */
  readonly onServerVersion?: (version: string) => void;
}

/** Requests to a server, resolving only with successes. Rejects with ApiError, UnreachableError, or CliError (`not_bhatti` for a nonsensical answer). */
export class ApiConnection {
  readonly endpoint: Endpoint;
  readonly #connection: HttpConnection;
  readonly #options: ApiConnectionOptions;

  constructor(endpoint: Endpoint, options: ApiConnectionOptions) {
    this.endpoint = endpoint;
    this.#connection = new HttpConnection(endpoint);
    this.#options = options;
  }

  /** Resolves with a body of that shape; one with the status `otherwise` is as good as a success. */
  async call<Schema extends z.ZodType>(
    shape: Schema,
    request: HttpRequest,
    otherwise?: number,
  ): Promise<z.output<Schema>> {
    const { json } = await this.ask(request, otherwise);
    return this.#parse(shape, json);
  }

  /** Resolves with status and body of any success, and of the status `otherwise`. */
  async ask(request: HttpRequest, otherwise?: number): Promise<{ status: number; json: unknown }> {
    const { status, location, text } = await this.#send(request);
    const json = parseJson(text);
    if (isRedirect(status)) throw redirected(this.endpoint, location);
    if (status >= 400 && status !== otherwise) throw refusal(this.endpoint, status, json);
    return { status, json };
  }

  /** Resolves once the headers are here; the caller reads the body. */
  async open(request: HttpRequest): Promise<HttpAnswer> {
    const sentAt = performance.now();
    const answer = await this.#arrived(request, this.#connection.open(request));
    this.#seeVersion(answer.headers);
    if (isRedirect(answer.status)) {
      answer.body.destroy();
      throw redirected(this.endpoint, answer.headers.location);
    }
    if (answer.status >= 400) {
      const text = await this.#arrived(request, readText(answer.body));
      throw refusal(this.endpoint, answer.status, parseJson(text));
    }
    answer.body.once('close', () => {
      const { status, dns, connect, tls, server } = answer;
      const transfer = performance.now() - sentAt - dns - connect - tls - server;
      this.#tellTiming(request, { status, dns, connect, tls, server, transfer });
    });
    return answer;
  }

  /** The data of each event called `name`, parsed as `shape`, until the server ends the stream. */
  async *events<Schema extends z.ZodType>(
    shape: Schema,
    name: string,
    request: HttpRequest,
  ): AsyncIterable<z.output<Schema>> {
    const { headers, body } = await this.open({ ...request, headers: { accept: 'text/event-stream' } });
    try {
      if (!headers['content-type']?.startsWith('text/event-stream')) throw notBhatti(this.endpoint, undefined);
      // Loaded here: most commands watch nothing.
      const { serverSentEvents } = await import('./server-sent-events.ts');
      for await (const text of serverSentEvents(body, name)) yield this.#parse(shape, parseJson(text));
    } catch (error) {
      throw error instanceof CliError ? error : unreachable(this.endpoint, error);
    } finally {
      body.destroy();
    }
  }

  close(): void {
    this.#connection.close();
  }

  #parse<Schema extends z.ZodType>(shape: Schema, json: unknown): z.output<Schema> {
    const parsed = shape.safeParse(json);
    if (!parsed.success) throw notBhatti(this.endpoint, parsed.error);
    return parsed.data;
  }

  async #send(request: HttpRequest) {
    const { text, headers, ...timing } = await this.#arrived(request, this.#connection.send(request));
    this.#seeVersion(headers);
    this.#tellTiming(request, timing);
    return { status: timing.status, location: headers.location, text };
  }

  /** What is on its way; if it does not arrive, rejects with the error that says why. */
  async #arrived<Part>(request: HttpRequest, part: Promise<Part>): Promise<Part> {
    try {
      return await part;
    } catch (error) {
      throw failedRequest(this.endpoint, request, error);
    }
  }

  #seeVersion(headers: IncomingHttpHeaders): void {
    const version = headers['x-bhatti-version'];
    if (typeof version === 'string') this.#options.onServerVersion?.(version);
  }

  #tellTiming({ method, path }: HttpRequest, timing: Omit<RequestTiming, 'method' | 'path'>): void {
    this.#options.onTiming?.({ method, path: path.replace(/\?.*/, ''), ...timing });
  }
}

function isRedirect(status: number): boolean {
  return status >= 300 && status < 400;
}

function parseJson(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
