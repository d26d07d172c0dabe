import { parseContentRange } from './content-range.ts';
import type { Credentials } from './credentials.ts';
import { OciError } from './error.ts';
import type { Receiver, ResponseHead } from './exchange.ts';
import type { Descriptor } from './manifest.ts';
import { isMirrorFailure, type Source } from './mirror.ts';
import { cancelledError } from './network-error.ts';
import { PartialFile } from './partial-file.ts';
import { familiarReference, type Reference } from './reference.ts';
import type { RegistryApi } from './registry-api.ts';
import { registryError } from './registry-error.ts';
import { mayRetry, pause, type RetryNotice, type RetryOptions, retryDelay } from './retry.ts';

export interface DownloadOptions {
  readonly credentials?: Credentials;
  readonly signal?: AbortSignal;
  /** Called with the bytes in the file each time some are added (a megabyte at a time on a fast link), and at the start. */
  readonly onBytes?: (totalBytesInFile: number) => void;
  /** Ask the registry itself: for a second fetch, when the bytes of the first turned out wrong. */
  readonly avoidMirrors?: boolean;
}

export interface DownloadRequest {
  readonly api: Pick<RegistryApi, 'get'>;
  readonly reference: Reference;
  /** Asked in this order; each one is left for the next at its first failure, but the last, which is the registry. */
  readonly sources: readonly Source[];
  readonly descriptor: Descriptor;
  readonly options: DownloadOptions;
  readonly retry: RetryOptions;
  readonly onRetry: (notice: RetryNotice) => void;
}

/** Less than this is no progress: a registry that sends a few bytes and stalls would hold a pull up for days. */
const PROGRESS_BYTES = 64 * 1024;

/** RFC 9110, 8.8.3; weak ones may not stand in If-Range. */
const STRONG_ETAG = /^"[\x21\x23-\x7e]*"$/;

/** Statuses of a signed URL that has expired, or of a host that has lost what it was redirected to for. */
const STALE_REDIRECT: ReadonlySet<number> = new Set([400, 401, 403, 404, 410]);

/** One blob, appended to one file, over as many connections as it takes. */
export class Download {
  readonly #api: Pick<RegistryApi, 'get'>;
  readonly #sources: Source[];
  readonly #descriptor: Descriptor;
  readonly #options: DownloadOptions;
  readonly #retry: RetryOptions;
  readonly #onRetry: (notice: RetryNotice) => void;
  readonly #what: string;
  /** Off once the registry has shown that it cannot send a part: the whole is asked for then, and what is there skipped. */
  #asksForRange = true;
  /** Parts in a row that a host which the registry redirected to refused. */
  #refusedParts = 0;
  /**
   * Strong `ETag` of what came before, for `If-Range`: should the content have changed, the whole comes. Undefined from when a server
   * answers one with the whole: storage behind a registry may tag the same bytes differently on each host.
   */
  #validator: string | undefined;
  #usesValidator = true;

  constructor({ api, reference, sources, descriptor, options, retry, onRetry }: DownloadRequest) {
    this.#api = api;
    this.#sources = [...sources];
    this.#descriptor = descriptor;
    this.#options = options;
    this.#retry = retry;
    this.#onRetry = onRetry;
    this.#what = `the layer ${descriptor.digest} of ${familiarReference(reference)}`;
  }

  /** @throws OciError; the file keeps what came, for the next attempt to go on from */
  async into(path: string): Promise<void> {
    const { onBytes = () => undefined, signal } = this.#options;
    if (signal?.aborted) throw cancelledError(signal);
    const file = await PartialFile.open(path, onBytes);
    try {
      // More than the blob has cannot be a beginning of it.
      if (file.length > this.#descriptor.size) await file.clear();
      onBytes(file.length);
      await this.#complete(file);
    } finally {
      await file.close();
    }
  }

  async #complete(file: PartialFile): Promise<void> {
    let failures = 0;
    let mark = file.length;
    while (file.length < this.#descriptor.size) {
      try {
        await this.#fetchRest(file);
      } catch (error) {
        if (!(error instanceof OciError)) throw error;
        if (this.#leavesMirror(error)) continue;
        // Attempts are counted without progress: a long download may break any number of times, if it gets on.
        const hasProgress = file.length - mark >= PROGRESS_BYTES;
        failures = hasProgress ? 1 : failures + 1;
        if (hasProgress) mark = file.length;
        if (!mayRetry(error, failures, this.#retry)) throw error;
        const delayMs = retryDelay(failures, error.retryAfterMs, this.#retry);
        this.#onRetry({ error, delayMs, failures });
        await pause(delayMs, this.#options.signal);
      }
    }
  }

  /** Whether there is another source to ask, at once; it takes over from the next byte on. */
  #leavesMirror(error: OciError): boolean {
    if (this.#sources.length < 2 || !isMirrorFailure(error)) return false;
    this.#onRetry({ error, delayMs: 0, failures: 1 });
    this.#sources.shift();
    this.#asksForRange = true;
    this.#refusedParts = 0;
    this.#usesValidator = true;
    this.#validator = undefined;
    return true;
  }

  get #source(): Source {
    const [source] = this.#sources;
    if (source === undefined) throw new OciError('internal', `there is nowhere to fetch ${this.#what} from`);
    return source;
  }

  async #fetchRest(file: PartialFile): Promise<void> {
    const offset = file.length;
    const { signal } = this.#options;
    const { reference, credentials } = this.#source;
    const range = this.#rangeHeaders(offset);
    const isWhole = range.range === undefined;
    // The registry is asked each time, not the host that it redirected to before: such URLs expire.
    const fetching = this.#api.get({
      reference,
      path: `blobs/${this.#descriptor.digest}`,
      purpose: 'blob',
      headers: range,
      credentials,
      signal,
      receive: (head) => this.#receiver(head, file, offset, isWhole),
    });
    // What came before a break counts, so it is written before the break is looked at.
    const answer = await fetching.finally(() => file.flush());
    const { head, url, hasLeftHost, errorBody } = answer;
    if (head.status === 416) throw this.#rangeRefused(head, offset);
    if (head.status !== 200 && head.status !== 206) {
      const error = registryError({ head, body: errorBody, url, kind: 'blob', what: this.#what });
      if (!hasLeftHost || !STALE_REDIRECT.has(head.status)) throw error;
      // An expired URL is a new one at the next attempt; what a new one refuses, too, may be the range.
      if (!isWhole) this.#refusedParts += 1;
      if (this.#refusedParts > 1) this.#asksForRange = false;
      throw retryable(error);
    }
    if (file.length < this.#descriptor.size) {
      throw new OciError(
        'registry_error',
        `${url.host} ended ${this.#what} after ${file.length} of ${this.#descriptor.size} bytes`,
        { retryable: true, host: url.host, path: url.pathname },
      );
    }
  }

  #rangeHeaders(offset: number): Record<string, string> {
    if (offset === 0 || !this.#asksForRange) return {};
    const range = { range: `bytes=${offset}-` };
    return this.#validator === undefined ? range : { ...range, 'if-range': this.#validator };
  }

  /** Checks what the head promises, before any byte of it is taken. */
  #receiver(head: ResponseHead, file: PartialFile, offset: number, isWhole: boolean): Receiver {
    this.#refusedParts = 0;
    const etag = head.headers.get('etag');
    if (this.#usesValidator && etag !== undefined && STRONG_ETAG.test(etag)) this.#validator = etag;
    // Some caches answer 206 though no part was asked for, and then need not say which it is.
    const isPart = head.status === 206 && !(isWhole && !head.headers.has('content-range'));
    let skip = isPart ? this.#checkRange(head, offset) : this.#checkWhole(head, offset);
    const { size } = this.#descriptor;
    return (chunk, flow) => {
      let rest = chunk;
      if (skip > 0) {
        const skipped = Math.min(skip, chunk.length);
        skip -= skipped;
        if (skipped === chunk.length) return undefined;
        rest = chunk.subarray(skipped);
      }
      if (file.accepted + rest.length > size) throw this.#sizeMismatch('more');
      file.append(rest, flow);
      return undefined;
    };
  }

  /** Bytes to skip of a whole blob: those that are there already. */
  #checkWhole({ headers }: ResponseHead, offset: number): number {
    const stated = headers.get('content-length');
    const encoding = headers.get('content-encoding')?.trim().toLowerCase() ?? 'identity';
    // Storage may call a layer that is gzip itself so, and sends it as it is; another length, or none, means that it was changed on its way.
    if (encoding !== '' && encoding !== 'identity' && Number(stated) !== this.#descriptor.size)
      throw this.#reencoded(encoding);
    if (stated !== undefined && Number(stated) !== this.#descriptor.size) throw this.#sizeMismatch(stated);
    if (offset > 0 && this.#validator !== undefined) {
      this.#usesValidator = false;
      this.#validator = undefined;
    }
    return offset;
  }

  /** Bytes to skip of a part; normally none. */
  #checkRange({ headers }: ResponseHead, offset: number): number {
    const header = headers.get('content-range');
    const range = parseContentRange(header);
    if (range?.total !== undefined && range.total !== this.#descriptor.size)
      throw this.#sizeMismatch(String(range.total));
    if (range?.first !== undefined && range.first <= offset) return offset - range.first;
    // Asked for the whole next time; a server without working ranges can still send it.
    this.#asksForRange = false;
    throw new OciError(
      'registry_error',
      `${this.#source.reference.domain} sent another part of ${this.#what} than asked for (Content-Range ${JSON.stringify(header ?? '')})`,
      { retryable: true, status: 206, host: this.#source.reference.domain },
    );
  }

  #rangeRefused({ headers }: ResponseHead, offset: number): OciError {
    const total = parseContentRange(headers.get('content-range'))?.total;
    if (total !== undefined && total !== this.#descriptor.size) return this.#sizeMismatch(String(total));
    const isFirst = this.#asksForRange;
    this.#asksForRange = false;
    return new OciError(
      'registry_error',
      `${this.#source.reference.domain} refused to send ${this.#what} from byte ${offset} on`,
      {
        retryable: isFirst,
        status: 416,
        host: this.#source.reference.domain,
      },
    );
  }

  #reencoded(encoding: string): OciError {
    const host = this.#source.reference.domain;
    return new OciError(
      'size_mismatch',
      `${host} sent ${this.#what} with Content-Encoding ${JSON.stringify(encoding.slice(0, 100))}, though it was asked for as it is stored; a proxy on the way, or the registry's own, must not compress layers`,
      { host },
    );
  }

  #sizeMismatch(stated: string): OciError {
    const { size } = this.#descriptor;
    const host = this.#source.reference.domain;
    return new OciError(
      'size_mismatch',
      `${host} has ${stated === 'more' ? 'more' : stated} bytes for ${this.#what} where its manifest states ${size}; the image at the registry is damaged`,
      { host },
    );
  }
}

function retryable(error: OciError): OciError {
  const { message, status, host, path, registryCode, retryAfterMs } = error;
  return new OciError('registry_error', message, { retryable: true, status, host, path, registryCode, retryAfterMs });
}
