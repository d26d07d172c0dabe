import * as z from 'zod';
import { OciError, type OciErrorCode } from '../error.ts';
import { errorCode } from '../system-error.ts';
import type { Purpose } from './connections.ts';
import { StallError } from './stall.ts';

/** Codes of failures to connect, with the reason for the message. `retryable` says whether trying again can help. */
const UNREACHABLE: ReadonlyMap<string, { readonly reason: string; readonly retryable: boolean }> = new Map([
  ['ENOTFOUND', { reason: 'no such host; check the name for typing errors and the network', retryable: false }],
  ['EAI_AGAIN', { reason: 'its name cannot be resolved at the moment; check the network and DNS', retryable: true }],
  ['ECONNREFUSED', { reason: 'the connection was refused; is it running, and is the port right?', retryable: true }],
  ['EHOSTUNREACH', { reason: 'there is no route to it; check the network', retryable: true }],
  ['ENETUNREACH', { reason: 'the network is not reachable', retryable: true }],
  ['EADDRNOTAVAIL', { reason: 'the network is not reachable', retryable: true }],
  ['ETIMEDOUT', { reason: 'it did not answer in time', retryable: true }],
  ['UND_ERR_CONNECT_TIMEOUT', { reason: 'it did not answer in time', retryable: true }],
  // Of a proxy: the requests to registries have timers of their own.
  ['UND_ERR_HEADERS_TIMEOUT', { reason: 'it did not answer in time', retryable: true }],
]);

/** Codes of a certificate that was not accepted (OpenSSL's verify errors, as Node names them). */
const CERTIFICATE =
  /^(CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|ERR_TLS_CERT|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)/;

/** Node's form of OpenSSL's errors. Their messages are not shown: they contain memory addresses and source files. */
const tlsError = z.object({ code: z.string().regex(/^ERR_SSL_|^EPROTO$/), reason: z.string().min(1) });

/** Reasons that mean that the host answered with plain HTTP, or anything else, where TLS was expected. */
const NO_TLS = new Set(['wrong version number', 'packet length too long', 'record layer failure', 'http request']);

/** Reasons that will not go away: the two sides are incompatible. Others may come from bytes damaged on the way. */
const NO_AGREEMENT = /handshake failure|protocol version|unsupported protocol|unrecognized name|no shared cipher/;

/** Alerts about the certificate of the one who asks, with which a registry that demands one ends the connection. */
const CLIENT_CERTIFICATE_REFUSED = /alert (?:certificate|bad certificate|unsupported certificate|unknown ca)/i;

/** @param said the registry's word for it */
export function clientCertificateRefused(host: string, said: string): string {
  return `${host} demands a client certificate, or does not accept the one that it got (${said}); an operator can set client_certificate of this registry in registries.yaml`;
}

/** What failed is the connection to the proxy; the cause says how. Without a code, by which undici would take it for a failure to be mended. */
export class ProxyError extends Error {
  constructor(cause: Error) {
    super('the connection to the proxy failed', { cause });
    this.name = 'ProxyError';
  }
}

/** Whether the server's certificate was not accepted. */
export function isCertificateError(error: unknown): boolean {
  return CERTIFICATE.test(errorCode(error));
}

/** Whether OpenSSL failed, or got an alert from the other side. */
export function isTlsError(error: unknown): boolean {
  return tlsError.safeParse(error).success;
}

/** Whether the server ended the handshake with an alert, which shows that it speaks TLS. */
export function isTlsAlert(error: unknown): boolean {
  return /\balert\b/i.test(tlsError.safeParse(error).data?.reason ?? '');
}

/** Whether no connection was established at all. */
export function isUnreachable(error: unknown): boolean {
  return UNREACHABLE.has(errorCode(error));
}

/** undici has no error code for a proxy's answer to CONNECT. */
const PROXY_REFUSAL = /^Proxy (?:response|Authentication Required) \(([0-9]{3})\)/;

/** The status with which a proxy refused to connect to the host; undefined for every other failure. */
function proxyStatus(error: unknown): number | undefined {
  const status = error instanceof Error ? PROXY_REFUSAL.exec(error.message)?.[1] : undefined;
  return status === undefined ? undefined : Number(status);
}

function proxyAdvice(status: number): string {
  if (status === 407) return 'it wants a name and a password: http://name:password@proxy in HTTPS_PROXY';
  return status >= 500 ? 'it may not reach the host itself' : 'it may not allow the host, or not support HTTPS';
}

/** The part of a failed request's error that depends on the failure; `host`, `path` and the cause are added to it. */
interface Failure {
  readonly code: OciErrorCode;
  readonly message: string;
  readonly retryable?: boolean;
  readonly status?: number;
}

/**
 * The error for a request that got no complete response, directly or through a proxy.
 *
 * @param error what undici, Node or this library threw; an OciError is returned as it is
 */
export function networkError(error: unknown, url: URL, purpose: Purpose, proxy?: URL): OciError {
  if (error instanceof OciError) return error;
  const { code, message, ...details } =
    unreachable(error instanceof ProxyError ? error.cause : error, url, proxy) ??
    proxyFailure(error, url, proxy) ??
    proxyRefusal(error, url) ??
    tlsFailure(error, url) ??
    broken(error, url, purpose);
  return new OciError(code, message, { ...details, host: url.host, path: url.pathname, cause: error });
}

function unreachable(error: unknown, { host }: URL, proxy: URL | undefined): Failure | undefined {
  const known = UNREACHABLE.get(errorCode(error));
  if (known === undefined) return undefined;
  // With a proxy, it is the proxy that resolves and connects to the host: what failed here is the way to the proxy.
  const whom = proxy === undefined ? host : onTheWay(proxy, host);
  return {
    code: 'registry_unreachable',
    message: `cannot reach ${whom}: ${known.reason}`,
    retryable: known.retryable,
  };
}

function onTheWay(proxy: URL | undefined, host: string): string {
  return `the proxy ${proxy?.host ?? ''} on the way to ${host}`;
}

function proxyFailure(error: unknown, { host }: URL, proxy: URL | undefined): Failure | undefined {
  if (!(error instanceof ProxyError)) return undefined;
  const code = 'registry_unreachable';
  const whom = onTheWay(proxy, host);
  const { cause } = error;
  if (isCertificateError(cause)) {
    const message = `cannot trust ${whom}: its TLS certificate was not accepted (${errorCode(cause)}); add its CA to those trusted for all hosts`;
    return { code, message };
  }
  const tls = tlsError.safeParse(cause).data;
  // Not `registry_unreachable`, which is not tried again at once: the proxy did answer.
  if (tls === undefined) return brokenConnection(whom, cause);
  const message = `cannot reach ${whom}: TLS failed (${tls.reason})`;
  if (NO_TLS.has(tls.reason)) {
    return { code, message: `${message}; if what answers there is a proxy, name it by http://` };
  }
  if (CLIENT_CERTIFICATE_REFUSED.test(tls.reason)) {
    return { code, message: `${message}; it demands a client certificate, and a proxy cannot be given one` };
  }
  return { code, message, retryable: !NO_AGREEMENT.test(tls.reason) };
}

function proxyRefusal(error: unknown, { host }: URL): Failure | undefined {
  const status = proxyStatus(error);
  if (status === undefined) return undefined;
  return {
    code: 'registry_unreachable',
    message: `cannot reach ${host}: the proxy on the way refused with status ${status}; ${proxyAdvice(status)}`,
    status,
    retryable: status >= 500,
  };
}

function tlsFailure(error: unknown, { host }: URL): Failure | undefined {
  const code = 'registry_unreachable';
  if (isCertificateError(error)) {
    const message = `cannot trust ${host}: its TLS certificate was not accepted (${errorCode(error)}); add its CA, or configure the registry as insecure`;
    return { code, message };
  }
  const tls = tlsError.safeParse(error).data;
  if (tls === undefined) return undefined;
  if (NO_TLS.has(tls.reason)) {
    const message = `cannot reach ${host}: what answers there does not speak TLS. If it is a registry with plain HTTP, an operator may allow that: BHATTI_INSECURE_REGISTRIES=${host}, or insecure in registries.yaml`;
    return { code, message };
  }
  if (CLIENT_CERTIFICATE_REFUSED.test(tls.reason)) {
    return { code: 'client_certificate_refused', message: clientCertificateRefused(host, tls.reason) };
  }
  // Servers with TLS 1.2 refuse so, too, whoever shows no certificate.
  const advice = /handshake failure/.test(tls.reason) ? '; it may demand a client certificate' : '';
  return {
    code,
    message: `cannot reach ${host}: TLS failed (${tls.reason})${advice}`,
    retryable: !NO_AGREEMENT.test(tls.reason),
  };
}

function broken(error: unknown, { host }: URL, purpose: Purpose): Failure {
  if (error instanceof StallError) {
    const code = purpose === 'blob' ? 'download_stalled' : 'registry_error';
    return { code, message: `${host} sent nothing for ${error.timeoutMs / 1000} s`, retryable: true };
  }
  return brokenConnection(host, error);
}

function brokenConnection(whom: string, error: unknown): Failure {
  const reason = error instanceof Error && error.message !== '' ? error.message : String(error);
  return { code: 'registry_error', message: `the connection to ${whom} broke: ${reason}`, retryable: true };
}
