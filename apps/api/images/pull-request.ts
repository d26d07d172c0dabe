import {
  type Credentials,
  formatPlatform,
  parseAuthFlag,
  parsePlatform,
  parseReference,
  type Reference,
} from '@bhatti/oci';
import { deriveImageName, isValidImageName } from '@bhatti/tasks';
import type * as z from 'zod';
import type { PullBody } from '../api-schema.ts';
import { ApiError } from '../request/errors.ts';
import { parseSize } from '../request/size.ts';

/** What a client asks for, checked and in canonical form. */
export interface PullRequest {
  /** As the client wrote it. */
  readonly requested: string;
  readonly reference: Reference;
  readonly name: string;
  /** `linux/arm64`; undefined is the platform of the workers. */
  readonly platform: string | undefined;
  /** Of the file system; undefined to size it by its content. */
  readonly sizeBytes: number | undefined;
  readonly credentials: Credentials | undefined;
  readonly force: boolean;
}

/** Throws ApiError or OciError: invalid_reference, invalid_name, invalid_platform, invalid_request (size, auth). */
export function toPullRequest(body: z.output<typeof PullBody>): PullRequest {
  const reference = parseReference(body.ref);
  return {
    requested: body.ref,
    reference,
    name: checkImageName(body.name ?? deriveImageName(reference)),
    platform: body.platform === undefined ? undefined : formatPlatform(parsePlatform(body.platform)),
    sizeBytes: body.size === undefined ? undefined : parseSize(body.size),
    credentials: body.auth === undefined ? undefined : parseAuthFlag(body.auth),
    force: body.force ?? false,
  };
}

/** Throws ApiError invalid_name. */
export function checkImageName(name: string): string {
  if (isValidImageName(name)) return name;
  throw new ApiError(
    400,
    'invalid_name',
    `${JSON.stringify(name.slice(0, 80))} cannot be an image name: use 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit`,
  );
}
