import { existsSync } from 'node:fs';

/** Something on this machine that was given in the place of a reference. */
export interface LocalSource {
  /** For a message: `it is a path`. */
  readonly is: string;
  /** The command that imports it, for a shell. */
  readonly command: string;
}

/** Prefixes of skopeo and Podman (containers-transports(5)) for images that are in no registry. */
const TRANSPORT = /^(docker-daemon|containers-storage|docker-archive|oci-archive|oci|dir):(.+)$/s;

/** The archive, layout or local image that is meant; undefined for a reference, also one to a repository that is called like a prefix. */
export function localSource(reference: string): LocalSource | undefined {
  if (reference === '-') return { is: 'it is stdin', command: 'bhatti image import --tar -' };
  if (isFile(reference)) return { is: 'it is a path', command: importFrom(reference) };
  return isRepository(reference) ? undefined : sourceOfTransport(reference);
}

/** What a prefix of skopeo and Podman says of a text that is known to be no reference; undefined where it has none. */
export function sourceOfTransport(text: string): LocalSource | undefined {
  const { transport, rest, path, name } = partsOf(text);
  switch (transport) {
    case 'docker-daemon':
      return { is: `${rest} is its name in Docker`, command: `bhatti image import ${shellWord(rest)}` };
    case 'containers-storage':
      return { is: `${rest} is its name in Podman`, command: importFromPodman(shellWord(rest)) };
    case 'docker-archive':
    case 'oci-archive':
      return { is: 'it is an archive', command: importFrom(path, name) };
    case 'oci':
      return { is: 'it is a layout', command: importFrom(path, name) };
    case 'dir':
      return { is: 'it is a folder', command: importFromFolder(rest) };
    default:
      return undefined;
  }
}

/** Whether what looks like a prefix may as well be a repository, and the rest its tag, or a host with its port. */
function isRepository(text: string): boolean {
  const { transport, rest, path } = partsOf(text);
  if (/^\d+\//.test(rest)) return true;
  switch (transport) {
    case 'docker-daemon':
    case 'containers-storage':
      return !isName(rest);
    case 'docker-archive':
    case 'oci-archive':
      return !isPath(path);
    default:
      return !/[/:]/.test(rest);
  }
}

/** Of TRANSPORT:PATH[:NAME]; `rest` is all after the prefix. */
function partsOf(text: string): { transport: string; rest: string; path: string; name: string | undefined } {
  const [, transport = '', rest = ''] = TRANSPORT.exec(text) ?? [];
  const [, path = rest, name] = /^([^:]+):(.+)$/s.exec(rest) ?? [];
  return { transport, rest, path, name };
}

/** Podman takes its images by any name; what is saved says the full one. Docker, which `image import` tries first, has others. */
export function importFromPodman(name: string): string {
  return `podman save ${name} | bhatti image import --tar - --ref ${name}`;
}

/** What skopeo writes to a `dir:`, which is no layout. */
export function importFromFolder(path: string): string {
  return `skopeo copy ${shellWord(`dir:${path}`)} oci:LAYOUT && bhatti image import --tar LAYOUT --name NAME`;
}

/** `@0`, an image by its place in the archive, has no equivalent. */
function importFrom(path: string, name?: string): string {
  const which = name === undefined || name.startsWith('@') ? '' : ` --ref ${shellWord(name)}`;
  return `bhatti image import --tar ${shellWord(path)}${which}`;
}

/** Whether it is a name with more than a tag may have. */
function isName(text: string): boolean {
  return /^[\w][\w./:@-]*[/:][\w./:@-]*$/.test(text);
}

/** Whether it is more than a tag, which would make the prefix a repository. */
function isPath(text: string): boolean {
  return text.includes('/') || ARCHIVE.test(text) || existsSync(text);
}

const ARCHIVE = /\.(tar|tgz|gz|zst|oci)$/;

/** Whether a file is meant: a word such as `alpine` may be both, so only one that looks like a path and exists. */
function isFile(reference: string): boolean {
  return (/^[./~]/.test(reference) || ARCHIVE.test(reference)) && existsSync(reference);
}

/** As a shell takes it for one word. What a terminal could not show is left to the reader. */
function shellWord(text: string): string {
  if (/^[\w@%+=:,./~-]+$/.test(text)) return text;
  return /\p{Cc}/u.test(text) ? 'FILE' : `'${text.replaceAll("'", "'\\''")}'`;
}
