import {
  type Credentials,
  formatPlatform,
  parseAuthFlag,
  parsePlatform,
  parseReference,
  type Reference,
} from '@bhatti/oci';
import { deriveImageName, isValidImageName } from '@bhatti/tasks';
import { z } from 'zod';
import { ApiError } from './errors.ts';
import { parseSize } from './size.ts';

function text(maximum: number, what: string) {
  return z
    .string({ error: (issue) => (issue.input === undefined ? `is missing: give ${what}` : `must be text: ${what}`) })
    .min(1, { error: `is empty: give ${what}, or leave the field out` })
    .max(maximum, { error: `is longer than ${maximum} characters: give ${what}` });
}

/** The body of POST /images/pull. */
export const pullBody = z.strictObject({
  ref: text(1024, 'an image reference such as "python:3.12"'),
  name: text(256, 'a name for the image').optional(),
  auth: text(16_384, 'credentials of the registry as "user:token"').optional(),
  platform: text(64, 'a platform such as "linux/arm64"').optional(),
  size: z
    .union([z.string().max(64), z.number()], { error: 'must be a size: "2GB", "512MB" or a number of bytes' })
    .optional(),
  force: z.boolean({ error: 'must be true or false' }).optional(),
});

/** What a client asks for, checked and in canonical form. */
export interface PullRequest {
  /** As the client wrote it. */
  readonly requested: string;
  readonly reference: Reference;
  readonly name: string;
  /** `linux/arm64`; undefined is the platform of the workers. */
  readonly platform: string | undefined;
  /** Of the file system; undefined leaves it to the content. */
  readonly sizeBytes: number | undefined;
  readonly credentials: Credentials | undefined;
  readonly force: boolean;
}

/** Throws ApiError or OciError: invalid_reference, invalid_name, invalid_platform, invalid_request (size, auth). */
export function toPullRequest(body: z.output<typeof pullBody>): PullRequest {
  const reference = parseReference(body.ref);
  return {
    requested: body.ref,
    reference,
    name: imageName(body.name, reference),
    platform: body.platform === undefined ? undefined : formatPlatform(parsePlatform(body.platform)),
    sizeBytes: body.size === undefined ? undefined : parseSize(body.size),
    credentials: body.auth === undefined ? undefined : parseAuthFlag(body.auth),
    force: body.force ?? false,
  };
}

function imageName(given: string | undefined, reference: Reference): string {
  const name = given ?? deriveImageName(reference);
  if (isValidImageName(name)) return name;
  throw new ApiError(
    400,
    'invalid_name',
    `${JSON.stringify(name.slice(0, 80))} cannot be an image name: use 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit`,
  );
}
