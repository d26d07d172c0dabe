import { OciError, parsePlatform } from '@bhatti/oci';
import { CliError } from './cli-error.ts';

/** What `--platform` was given, unchanged, for commander. Throws CliError `invalid_platform`, before anything is sent. */
export function platformFlag(text: string): string {
  try {
    parsePlatform(text);
    return text;
  } catch (error) {
    throw error instanceof OciError ? new CliError(error.code, error.message, { cause: error }) : error;
  }
}
