import { StoreError } from './error.ts';

const digestPattern = /^(?:sha256:)?([0-9a-f]{64})$/;
const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$/;

/** The 64 hex digits of `sha256:<hex>` or `<hex>`, the only text that becomes a path of content. @throws StoreError `invalid_name` */
export function digestHex(digest: string): string {
  const hex = digestPattern.exec(digest)?.[1];
  if (hex === undefined) {
    throw new StoreError('invalid_name', `${JSON.stringify(digest.slice(0, 80))} is not a SHA-256 digest`);
  }
  return hex;
}

/** Whether a file's name is one that `fileName` allows; files that others put into our folders may have any. */
export function isFileName(text: string): boolean {
  return namePattern.test(text);
}

/** An owner, image name or upload id as a file name: it cannot leave its folder, nor be a hidden file. @throws StoreError `invalid_name` */
export function fileName(kind: 'owner' | 'image name' | 'upload', text: string): string {
  if (!isFileName(text)) {
    throw new StoreError(
      'invalid_name',
      `${JSON.stringify(text.slice(0, 80))} is not a valid ${kind}: use 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit`,
    );
  }
  return text;
}
