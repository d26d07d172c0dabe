import type { Credentials } from './credentials.ts';
import { OciError, type OciErrorCode } from './error.ts';
import type { Reference } from './reference.ts';
import type { RegistryConfiguration } from './registry-settings.ts';

/** Where an image can be had: what it is called there, and the credentials of the pull that may be shown there. */
export interface Source {
  readonly reference: Reference;
  readonly credentials: Credentials | undefined;
}

/** The mirrors of an image's registry. The pull's own credentials are the registry's business, and never shown to a mirror. */
export function mirrorSources(configuration: RegistryConfiguration, reference: Reference): Source[] {
  return configuration.mirrors(reference).map((mirror) => ({ reference: mirror, credentials: undefined }));
}

/** Failures that are this side's doing, so that asking somebody else makes no difference. */
const OWN_FAILURES: ReadonlySet<OciErrorCode> = new Set(['cancelled', 'no_space', 'internal']);

/** Whether what a mirror failed with is met by asking the next one, or the registry. */
export function isMirrorFailure(error: unknown): error is OciError {
  return error instanceof OciError && !OWN_FAILURES.has(error.code);
}
