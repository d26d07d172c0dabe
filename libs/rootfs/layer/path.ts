import { RootfsError } from '../error.ts';

const MAX_NAME = 255;

/**
 * The path of a tar entry or of a hard link's target as components joined by `/`: no leading `/` or `./`, no empty
 * or `.` components, `..` resolved by the text alone. '' is the root.
 *
 * @throws RootfsError `path_escapes_root` for a path that climbs above the root, `layer_corrupt` for a NUL or a
 * component that no file system can hold (over 255 bytes, not counting the prefix `.wh.` of a whiteout).
 */
export function normalizePath(path: string): string {
  const components: string[] = [];
  for (const component of path.split('/')) {
    if (component === '' || component === '.') continue;
    if (component === '..') {
      if (components.pop() === undefined) {
        throw new RootfsError(
          'path_escapes_root',
          `the layer's entry ${quote(path)} climbs out of the root with "..": refusing it`,
        );
      }
      continue;
    }
    if (component.length > (component.startsWith('.wh.') ? MAX_NAME + 4 : MAX_NAME)) {
      throw new RootfsError(
        'layer_corrupt',
        `the layer's entry ${quote(path)} has a name of ${component.length} bytes; ${MAX_NAME} is the limit`,
      );
    }
    if (component.includes('\0')) {
      throw new RootfsError('layer_corrupt', `the layer's entry ${quote(path)} has a NUL byte in its name`);
    }
    components.push(component);
  }
  return components.join('/');
}

/** A byte string as text for a message: decoded as UTF-8, quoted and escaped, at most 200 characters. */
export function quote(bytes: string): string {
  const text = JSON.stringify(Buffer.from(bytes, 'latin1').toString('utf8'));
  return text.length <= 200 ? text : `${text.slice(0, 199)}…"`;
}
