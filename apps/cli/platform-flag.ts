import { OciError, parsePlatform } from '@bhatti/oci';
import { CliError } from './cli-error.ts';

/** Checks the value of `--platform` for commander before anything is sent, and returns it unchanged. Throws CliError `invalid_platform`. */
export function platformFlag(text: string): string {
  try {
    parsePlatform(text);
    return text;
  } catch (error) {
    throw error instanceof OciError ? new CliError(error.code, error.message, { cause: error }) : error;
  }
}
