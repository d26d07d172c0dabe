import { expect, test } from '@jest/globals';
import { TarReader } from '../layer/tar-reader.ts';

const nobody = { entry: () => {}, content: () => {}, end: () => {} };

/** The header of an old GNU sparse file, whose map goes on in the next block. */
function sparseHeader(): Buffer {
  const header = Buffer.alloc(512);
  header.write('sparse', 0);
  header.write('S', 156);
  header.write('ustar  \0', 257);
  header[482] = 1;
  const sum = header.fill(' ', 148, 156).reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

test('the map of a sparse file that never ends is refused before it fills the memory', () => {
  const more = Buffer.alloc(512);
  for (let at = 0; at < 21 * 24; at += 12) more.write('00000000001\0', at);
  more[504] = 1;
  const reader = new TarReader(nobody);
  reader.push(sparseHeader());
  let blocks = 0;
  const endless = () => {
    for (; blocks < 100_000; blocks++) reader.push(more);
  };
  expect(endless).toThrow(/map is too long/);
  expect(blocks).toBeLessThan(25_000);
});
