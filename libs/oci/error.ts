/** Stable codes of this library's errors; operators and the CLI read them. */
export type OciErrorCode =
  | 'invalid_reference'
  | 'invalid_platform'
  | 'invalid_request'
  | 'unauthorized'
  | 'client_certificate_refused'
  | 'manifest_unknown'
  | 'registry_unreachable'
  | 'address_denied'
  | 'registry_error'
  | 'rate_limited'
  | 'unsupported_media_type'
  | 'platform_not_found'
  | 'digest_mismatch'
  | 'size_mismatch'
  | 'invalid_manifest'
  | 'download_stalled'
  | 'layer_corrupt'
  | 'archive_too_large'
  | 'expansion_too_large'
  | 'no_space'
  | 'cancelled'
  | 'internal';

/** What is known about a failure beside its code and its message. */
export interface OciErrorDetails {
  /** Whether asking again, later, can help. */
  readonly retryable?: boolean;
  /** HTTP status of the response that caused it. */
  readonly status?: number;
  /** `host[:port]` that answered, or that could not be reached. */
  readonly host?: string;
  /** Path of the request, without its query, which may hold the signature of a redirected blob. */
  readonly path?: string;
  /** The registry's own error code, such as `MANIFEST_UNKNOWN` (distribution spec, "Error Codes"). */
  readonly registryCode?: string;
  /** How long the registry asked clients to wait (`Retry-After`), in milliseconds. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/**
 * The only error class of this library. The message is written for the person at the CLI: what, where and what to do.
 * It never contains a secret or the query of a URL.
 */
export class OciError extends Error {
  readonly code: OciErrorCode;
  readonly retryable: boolean;
  readonly status: number | undefined;
  readonly host: string | undefined;
  readonly path: string | undefined;
  readonly registryCode: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: OciErrorCode, message: string, details: OciErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'OciError';
    this.code = code;
    this.retryable = details.retryable ?? false;
    this.status = details.status;
    this.host = details.host;
    this.path = details.path;
    this.registryCode = details.registryCode;
    this.retryAfterMs = details.retryAfterMs;
  }
}
