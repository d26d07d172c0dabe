import { existsSync } from 'node:fs';

/** Where something on this machine is that was given in the place of a reference. */
export interface LocalSource {
  /** What it is, for a message: `stdin is an archive`. */
  readonly is: string;
  /** The command that imports it. */
  readonly command: string;
}

/** Prefixes of skopeo and Podman (containers-transports(5)) for images that are in no registry. */
const TRANSPORT = /^(docker-daemon|containers-storage|docker-archive|oci-archive|oci|dir):(.+)$/;

/** The archive, layout or local image that is meant; undefined for a reference. */
export function localSource(reference: string): LocalSource | undefined {
  if (reference === '-') return { is: 'stdin is an archive', command: 'bhatti image import --tar -' };
  if (isFile(reference)) return { is: `${reference} is a path`, command: `bhatti image import --tar ${reference}` };
  const [, transport = '', rest = ''] = TRANSPORT.exec(reference) ?? [];
  switch (transport) {
    case 'docker-daemon':
    case 'containers-storage':
      return { is: `${rest} is a local image`, command: `bhatti image import ${rest}` };
    case 'docker-archive':
    case 'oci-archive':
      return archiveAt(rest);
    case 'oci':
    case 'dir':
      // Without a slash it may be the tag of a repository of that name.
      return rest.includes('/') ? archiveAt(rest) : undefined;
    default:
      return undefined;
  }
}

/** `PATH`, or `PATH:NAME` for an image in it. */
function archiveAt(place: string): LocalSource {
  const [, path = place, name] = /^([^:]+):(.+)$/.exec(place) ?? [];
  const which = name === undefined ? '' : ` --ref ${name}`;
  return { is: `${path} is an archive`, command: `bhatti image import --tar ${path}${which}` };
}

/** Whether a file is meant: a word such as `alpine` may be both, so only one that looks like a path and exists. */
function isFile(reference: string): boolean {
  return /^[./~]|\.(tar|tgz|gz|zst|oci)$/.test(reference) && existsSync(reference);
}
