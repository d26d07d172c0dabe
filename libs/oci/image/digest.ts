import { createHash } from 'node:crypto';

/** Length of the hexadecimal part, for the two algorithms that the OCI image spec registers ("Descriptors", "Registered Algorithms"). */
const HEX_LENGTH: ReadonlyMap<string, number> = new Map([
  ['sha256', 64],
  ['sha512', 128],
]);

/** Why a text is not a digest that can be verified here; undefined when it is one. */
export function digestProblem(text: string): string | undefined {
  const separator = text.indexOf(':');
  const algorithm = text.slice(0, separator);
  const length = HEX_LENGTH.get(algorithm);
  if (length === undefined) return 'the algorithm must be sha256 or sha512';
  const hex = text.slice(separator + 1);
  if (hex.length !== length) return `${algorithm} needs ${length} hexadecimal characters, not ${hex.length}`;
  return /^[a-f0-9]+$/.test(hex) ? undefined : 'only the characters 0-9 and a-f may follow the colon';
}

/** Whether the text is a digest in the form `sha256:<64 hex>` or `sha512:<128 hex>`. */
export function isDigest(text: string): boolean {
  return digestProblem(text) === undefined;
}

/** Digest of the bytes, with the algorithm of the digest `model`, so that the two can be compared. */
export function digestLike(model: string, bytes: Uint8Array): string {
  const algorithm = model.slice(0, model.indexOf(':'));
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
}

/** `sha256:<hex>` of the bytes. */
export function sha256Digest(bytes: Uint8Array): string {
  return digestLike('sha256:', bytes);
}
