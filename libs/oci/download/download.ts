import type { Credentials } from '../authentication/credentials.ts';
import { cancelledError } from '../cancellation.ts';
import type { Receiver, ResponseHead } from '../connection/exchange.ts';
import { OciError } from '../error.ts';
import type { Descriptor } from '../image/manifest.ts';
import { familiarReference, type Reference } from '../image/reference.ts';
import { isMirrorFailure, type Source } from '../registry/mirror.ts';
import type { RegistryApi } from '../registry/registry-api.ts';
import { registryError } from '../registry/registry-error.ts';
import { mayRetry, pause, type RetryNotice, type RetryOptions, retryDelay } from '../registry/retry.ts';
import { parseContentRange } from './content-range.ts';
import { PartialFile } from './partial-file.ts';

export interface DownloadOptions {
  readonly credentials?: Credentials;
  readonly signal?: AbortSignal;
  /** Called with the number of bytes in the file: at the start, and after each write (a megabyte at a time on a fast link). */
  readonly onBytes?: (totalBytesInFile: number) => void;
  /** Ask the registry itself: for a second attempt, when the bytes of the first turned out to be wrong. */
  readonly avoidMirrors?: boolean;
}

export interface DownloadRequest {
  readonly api: Pick<RegistryApi, 'send'>;
  readonly reference: Reference;
  /** Tried in this order, each until its first failure, except the last, which is the registry and is retried. */
  readonly sources: readonly Source[];
  readonly descriptor: Descriptor;
  readonly options: DownloadOptions;
  readonly retry: RetryOptions;
  readonly onRetry: (notice: RetryNotice) => void;
}

/** Fewer bytes than this do not count as progress: a registry that sends a few and stalls could delay a pull for days. */
const PROGRESS_BYTES = 64 * 1024;

/** RFC 9110, 8.8.3; weak ones are not allowed in If-Range. */
const STRONG_ETAG = /^"[\x21\x23-\x7e]*"$/;

/** Statuses of a signed URL that has expired, or of a storage host that no longer has the blob. */
const STALE_REDIRECT: ReadonlySet<number> = new Set([400, 401, 403, 404, 410]);

/** Downloads one blob to one file, over as many connections as it takes. */
export class Download {
  readonly #api: Pick<RegistryApi, 'send'>;
  readonly #sources: Source[];
  readonly #descriptor: Descriptor;
  readonly #options: DownloadOptions;
  readonly #retry: RetryOptions;
  readonly #onRetry: (notice: RetryNotice) => void;
  readonly #what: string;
  /** Off once the source has shown that it cannot send ranges: then the whole is asked for, and what is already there is skipped. */
  #asksForRange = true;
  /** Consecutive range requests that a host which the registry redirected to has refused. */
  #refusedParts = 0;
  /**
   * Strong `ETag` of the earlier responses, for `If-Range`: if the content has changed, the server sends the whole. No longer used once
   * a server has done so: the hosts of a storage service may tag the same bytes differently.
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

  /** @throws OciError; the file keeps what was received, for the next attempt to continue from */
  async into(path: string): Promise<void> {
    const { onBytes = () => undefined, signal } = this.#options;
    if (signal?.aborted) throw cancelledError(signal);
    const file = await PartialFile.open(path, onBytes);
    try {
      // A file longer than the blob cannot be its beginning.
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
        // Only attempts without progress count: a long download may break any number of times as long as it advances.
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

  /** Switches to the next source, which continues from the next byte, if this was a mirror's failure. Returns whether it did. */
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
    // The registry is asked each time, not the URL that it redirected to before, since those expire.
    const fetching = this.#api.send({
      reference,
      path: `blobs/${this.#descriptor.digest}`,
      purpose: 'blob',
      headers: range,
      credentials,
      signal,
      receive: (head) => this.#receiver(head, file, offset, isWhole),
    });
    // What was received before a failure counts as progress, so it is written before the failure is handled.
    const answer = await fetching.finally(() => file.flush());
    const { head, url, hasLeftHost, errorBody } = answer;
    if (head.status === 416) throw this.#rangeRefused(head, offset);
    if (head.status !== 200 && head.status !== 206) {
      const error = registryError({ head, body: errorBody, url, kind: 'blob', what: this.#what });
      if (!hasLeftHost || !STALE_REDIRECT.has(head.status)) throw error;
      // The next attempt gets a new URL in place of an expired one. If that is refused too, the range may be the reason.
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

  /** Checks the response's head, before any of its body is taken. */
  #receiver(head: ResponseHead, file: PartialFile, offset: number, isWhole: boolean): Receiver {
    this.#refusedParts = 0;
    const etag = head.headers.get('etag');
    if (this.#usesValidator && etag !== undefined && STRONG_ETAG.test(etag)) this.#validator = etag;
    // Some caches answer 206 although no range was asked for, without a Content-Range.
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

  /** Bytes to skip of a whole blob: those that are already in the file. */
  #checkWhole({ headers }: ResponseHead, offset: number): number {
    const stated = headers.get('content-length');
    const encoding = headers.get('content-encoding')?.trim().toLowerCase() ?? 'identity';
    // Storage may label a layer that is gzip itself with that encoding, unchanged; with another length, or none, it was re-encoded.
    if (encoding !== '' && encoding !== 'identity' && Number(stated) !== this.#descriptor.size)
      throw this.#reencoded(encoding);
    if (stated !== undefined && Number(stated) !== this.#descriptor.size) throw this.#sizeMismatch(stated);
    if (offset > 0 && this.#validator !== undefined) {
      this.#usesValidator = false;
      this.#validator = undefined;
    }
    return offset;
  }

  /** Bytes to skip of a range; normally none. */
  #checkRange({ headers }: ResponseHead, offset: number): number {
    const header = headers.get('content-range');
    const range = parseContentRange(header);
    if (range?.total !== undefined && range.total !== this.#descriptor.size)
      throw this.#sizeMismatch(String(range.total));
    if (range?.first !== undefined && range.first <= offset) return offset - range.first;
    // The next attempt asks for the whole, which a server without working ranges can still send.
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

  /** @param stated the number of bytes, or `more` */
  #sizeMismatch(stated: string): OciError {
    const { size } = this.#descriptor;
    const host = this.#source.reference.domain;
    return new OciError(
      'size_mismatch',
      `${host} has ${stated} ${stated === '1' ? 'byte' : 'bytes'} for ${this.#what} where its manifest states ${size}; the image at the registry is damaged`,
      { host },
    );
  }
}

function retryable(error: OciError): OciError {
  const { message, status, host, path, registryCode, retryAfterMs } = error;
  return new OciError('registry_error', message, { retryable: true, status, host, path, registryCode, retryAfterMs });
}
