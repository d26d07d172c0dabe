import { RootfsError } from '../error.ts';

/** A sparse file as its tar states it, in bytes: the size including holes, and the fragments, in order, whose data follows. */
export interface SparseMap {
  readonly size: number;
  readonly fragments: readonly { readonly offset: number; readonly length: number }[];
}

/** Makes the map from a flat list of offsets and lengths. @throws RootfsError `layer_corrupt` when they are out of order or exceed the file */
export function sparseMap(size: number, numbers: readonly number[]): SparseMap {
  const fragments: { offset: number; length: number }[] = [];
  let end = 0;
  for (let i = 0; i < numbers.length; i += 2) {
    const offset = numbers[i] ?? 0;
    const length = numbers[i + 1] ?? Number.NaN;
    if (offset < end || length < 0 || !Number.isSafeInteger(offset + length) || offset + length > size) {
      throw new RootfsError(
        'layer_corrupt',
        'the layer has a sparse file whose map of data is out of order or longer than the file',
      );
    }
    end = offset + length;
    if (length > 0) fragments.push({ offset, length });
  }
  return { size, fragments };
}
