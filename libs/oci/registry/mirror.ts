import type { Credentials } from '../authentication/credentials.ts';
import { OciError, type OciErrorCode } from '../error.ts';
import type { Reference } from '../image/reference.ts';
import type { RegistryConfiguration } from './registry-settings.ts';

/** Where an image can be fetched from: its reference there, and those of the pull's credentials that may be sent there. */
export interface Source {
  readonly reference: Reference;
  readonly credentials: Credentials | undefined;
}

/** The mirrors of an image's registry. The pull's own credentials are for the registry, and are never sent to a mirror. */
export function mirrorSources(configuration: RegistryConfiguration, reference: Reference): Source[] {
  return configuration.mirrors(reference).map((mirror) => ({ reference: mirror, credentials: undefined }));
}

/** Failures on this side, for which asking another host makes no difference. */
const OWN_FAILURES: ReadonlySet<OciErrorCode> = new Set(['cancelled', 'no_space', 'internal']);

/** Whether to ask the next mirror, or the registry, after a mirror failed with this error. */
export function isMirrorFailure(error: unknown): error is OciError {
  return error instanceof OciError && !OWN_FAILURES.has(error.code);
}
