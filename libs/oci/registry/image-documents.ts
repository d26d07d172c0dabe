import { gunzipSync } from 'node:zlib';
import type { Credentials } from '../authentication/credentials.ts';
import { collector } from '../connection/exchange.ts';
import { OciError } from '../error.ts';
import { digestLike, isDigest } from '../image/digest.ts';
import { type ParsedConfig, parseImageConfig } from '../image/image-config.ts';
import {
  type Descriptor,
  documentTooLarge,
  type ImageManifest,
  MANIFEST_SIZE_LIMIT,
  type Manifest,
  parseManifest,
  statedDigests,
} from '../image/manifest.ts';
import { MANIFEST_ACCEPT } from '../image/media-type.ts';
import type { Reference } from '../image/reference.ts';
import { counted } from '../image/texts.ts';
import { errorCode } from '../system-error.ts';
import type { RegistryApi } from './registry-api.ts';
import { registryError } from './registry-error.ts';

/** Most manifests fetched for one reference; an index that needs more is made to waste time. */
const FETCH_LIMIT = 24;

export interface DocumentSource {
  readonly api: Pick<RegistryApi, 'send'>;
  /** The image at the host that is asked. */
  readonly source: Reference;
  /** What messages call the image. */
  readonly name: string;
  readonly credentials?: Credentials;
  readonly signal?: AbortSignal;
}

/** The JSON documents of one repository: manifests, indexes and configs, each checked against its descriptor. */
export class ImageDocuments {
  readonly #from: DocumentSource;
  #fetches = 0;

  constructor(from: DocumentSource) {
    this.#from = from;
  }

  /**
   * A manifest or an index.
   *
   * @param descriptor as an index states it
   * @throws OciError `invalid_manifest`, also once too many were asked for; `size_mismatch`, `digest_mismatch`, and what the registry answers
   */
  async manifest(tagOrDigest: string, descriptor?: Descriptor): Promise<Manifest> {
    this.#fetches += 1;
    if (this.#fetches > FETCH_LIMIT) throw this.#tooMany();
    const { bytes, headers } = await this.#get(
      `manifests/${tagOrDigest}`,
      'manifest',
      `the manifest of ${this.#from.name}`,
    );
    if (descriptor !== undefined) this.#assertSize(bytes, descriptor, 'manifest');
    return parseManifest({
      body: bytes,
      contentType: headers.get('content-type'),
      statedDigest: headers.get('docker-content-digest'),
      wantedDigest: isDigest(tagOrDigest) ? tagOrDigest : undefined,
      name: this.#from.name,
    });
  }

  /** @throws OciError `digest_mismatch`, `size_mismatch`, `invalid_manifest`, and what the registry answers */
  async config(image: ImageManifest): Promise<ParsedConfig> {
    const { config } = image;
    const what = `the config of ${this.#from.name}`;
    if (config.size > MANIFEST_SIZE_LIMIT) throw documentTooLarge(what);
    const { bytes } = await this.#get(`blobs/${config.digest}`, 'blob', what);
    this.#assertSize(bytes, config, 'config');
    if (digestLike(config.digest, bytes) !== config.digest) {
      throw new OciError(
        'digest_mismatch',
        `${what} does not have the digest that its manifest states (${config.digest})`,
      );
    }
    return parseImageConfig(bytes, this.#from.name);
  }

  /**
   * Whether a tag points to this digest, without fetching what it points to: Docker Hub counts each GET of a manifest as a pull
   * ("Pull usage and limits"). False if the answer does not tell.
   *
   * @throws OciError, `unauthorized` if a login was refused
   */
  async pointsTo(tagOrDigest: string, digest: string): Promise<boolean> {
    const { credentials, signal } = this.#from;
    const { head, url, isLoginRefused, errorBody } = await this.#from.api.send({
      method: 'HEAD',
      reference: this.#from.source,
      path: `manifests/${tagOrDigest}`,
      purpose: 'metadata',
      headers: { accept: MANIFEST_ACCEPT },
      credentials,
      signal,
      receive: () => () => undefined,
    });
    if (isLoginRefused) {
      throw registryError({ head, body: errorBody, url, kind: 'manifest', what: `the manifest of ${this.#from.name}` });
    }
    const stated = statedDigests(head.headers.get('docker-content-digest'));
    return head.status === 200 && stated.length > 0 && stated.every((each) => each === digest);
  }

  async #get(
    path: string,
    kind: 'manifest' | 'blob',
    what: string,
  ): Promise<{ bytes: Buffer; headers: ReadonlyMap<string, string> }> {
    const { credentials, signal } = this.#from;
    const tooLarge = (): OciError => documentTooLarge(what);
    const body = collector(MANIFEST_SIZE_LIMIT, tooLarge);
    const { head, url, errorBody } = await this.#from.api.send({
      reference: this.#from.source,
      path,
      purpose: 'metadata',
      headers: { accept: kind === 'manifest' ? MANIFEST_ACCEPT : '*/*' },
      credentials,
      signal,
      receive: () => body.receive,
    });
    if (head.status !== 200) throw registryError({ head, body: errorBody, url, kind, what });
    return { bytes: decoded(body.bytes(), head.headers.get('content-encoding'), tooLarge), headers: head.headers };
  }

  #assertSize(bytes: Buffer, { size }: Descriptor, part: string): void {
    if (bytes.length === size) return;
    throw new OciError(
      'size_mismatch',
      `the ${part} of ${this.#from.name} has ${counted(bytes.length, 'byte')} where ${size} are stated; it was cut short or changed on its way`,
    );
  }

  #tooMany(): OciError {
    return new OciError(
      'invalid_manifest',
      `the index of ${this.#from.name} was given up after ${FETCH_LIMIT} manifests, none of which is the image; name the image by its own digest`,
    );
  }
}

/** Some proxies compress JSON although asked not to; digests cover the uncompressed bytes. */
function decoded(bytes: Buffer, encoding: string | undefined, tooLarge: () => OciError): Buffer {
  const isGzip = /^(x-)?gzip$/i.test(encoding?.trim() ?? '') && bytes[0] === 0x1f && bytes[1] === 0x8b;
  if (!isGzip) return bytes;
  try {
    return gunzipSync(bytes, { maxOutputLength: MANIFEST_SIZE_LIMIT });
  } catch (error) {
    // Damaged bytes are reported by the digest check.
    if (errorCode(error) !== 'ERR_BUFFER_TOO_LARGE') return bytes;
    throw tooLarge();
  }
}
