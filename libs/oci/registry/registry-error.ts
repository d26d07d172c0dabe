import * as z from 'zod';
import type { ResponseHead } from '../connection/exchange.ts';
import { clientCertificateRefused } from '../connection/network-error.ts';
import { OciError, type OciErrorCode } from '../error.ts';
import { parseRetryAfter } from './retry.ts';

/** Most bytes that are read of an error response's body. */
export const ERROR_BODY_LIMIT = 64 * 1024;

/** Distribution spec, "Error Codes". Token servers send `details` or OAuth's `error_description` instead. */
const errorsSchema = z.object({
  errors: z.array(z.object({ code: z.string().nullish(), message: z.string().nullish() })).min(1),
});
const otherSchema = z.object({
  code: z.string().nullish(),
  error: z.string().nullish(),
  error_description: z.string().nullish(),
  details: z.string().nullish(),
  message: z.string().nullish(),
});

/** nginx answers requests without the client certificate that it demands by this page. */
const NGINX_CLIENT_CERTIFICATE = /No required SSL certificate was sent|The SSL certificate error/;

export interface RefusedRequest {
  readonly head: ResponseHead;
  readonly body: Uint8Array;
  readonly url: URL;
  readonly kind: 'manifest' | 'blob' | 'token' | 'anonymous-token';
  /** What was asked for, as messages name it: `the manifest of ghcr.io/owner/image:tag`. */
  readonly what: string;
}

/** The error for a response with an error status: the registry's own code and message, and what to do about it. */
export function registryError({ head, body, url, kind, what }: RefusedRequest): OciError {
  const { status, headers } = head;
  const stated = statedError(body);
  const said = stated.text === '' ? `status ${status}` : `${stated.text} (status ${status})`;
  const details = {
    status,
    host: url.host,
    path: url.pathname,
    registryCode: stated.code,
    retryAfterMs: parseRetryAfter(headers.get('retry-after'), timeOf(headers.get('date'))),
  };
  const make = (code: OciErrorCode, message: string, retryable: boolean): OciError =>
    new OciError(code, message, { ...details, retryable });

  if (status === 401 || status === 403) {
    const hint = kind === 'token' ? 'Check the credentials' : 'The image may not exist, or may require authentication';
    return make('unauthorized', `${url.host} refused access to ${what}: ${said}. ${hint}`, false);
  }
  const nginxSaid = status === 400 ? NGINX_CLIENT_CERTIFICATE.exec(Buffer.from(body).toString('utf8')) : null;
  if (nginxSaid !== null) {
    return make('client_certificate_refused', clientCertificateRefused(url.host, nginxSaid[0]), false);
  }
  if (status === 404 && kind === 'manifest') {
    return make('manifest_unknown', `${url.host} does not have ${what}: ${said}. Check the name and the tag`, false);
  }
  if (status === 429) {
    return make(
      'rate_limited',
      `${url.host} limits how much may be pulled: ${said}. Try again later, or with credentials`,
      true,
    );
  }
  const isTemporary = status >= 500 || status === 408 || status === 425;
  return make('registry_error', `${url.host} did not send ${what}: ${said}`, isTemporary);
}

function statedError(body: Uint8Array): { code?: string; text: string } {
  const json = tryJson(body);
  const errors = errorsSchema.safeParse(json);
  const first = errors.success ? errors.data.errors[0] : undefined;
  if (first !== undefined) return statement(first.code, first.message);
  const other = otherSchema.safeParse(json);
  if (!other.success) return { text: '' };
  const { code, error, error_description, details, message } = other.data;
  return statement(code ?? error, error_description ?? message ?? details);
}

function statement(
  code: string | null | undefined,
  message: string | null | undefined,
): { code?: string; text: string } {
  const parts = [code, message].filter((part) => part !== null && part !== undefined && part !== '');
  return { code: code || undefined, text: printable(parts.join(': ')) };
}

function tryJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(body).toString('utf8'));
  } catch {
    return undefined;
  }
}

/** A server's message, made safe for a terminal: one line, no control characters, at most 300 characters, no URL queries. */
function printable(text: string): string {
  const line = text
    .replace(/[\p{Cc}\p{Cf}\s]+/gu, ' ')
    .replace(/(https?:\/\/[^\s?#]*)(?:\?[^\s"']*)?/g, '$1')
    .trim();
  return line.length > 300 ? `${line.slice(0, 300)}…` : line;
}

/** An HTTP date in ms since the epoch: the registry's clock, to which its `Retry-After` dates refer. Undefined where there is none. */
function timeOf(date: string | undefined): number | undefined {
  const time = Date.parse(date ?? '');
  return Number.isNaN(time) ? undefined : time;
}
