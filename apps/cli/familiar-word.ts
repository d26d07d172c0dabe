import type { Command } from 'commander';
import { pathOf } from './help-format.ts';

const meant = (ours: string) => `Did you mean ${ours}?`;

/**
 * What people who know Docker, kubectl, gh or systemctl type, and what to use here instead. Only words too unlike the right
 * command for commander to suggest it.
 */
export const familiarWords: ReadonlyMap<string, string> = new Map([
  ['bhatti pull', meant('image pull')],
  ['bhatti copy', meant('image pull')],
  ['bhatti images', meant('image list')],
  ['bhatti ls', meant('image list')],
  ['bhatti list', meant('image list')],
  ['bhatti get', meant('image list')],
  ['bhatti inspect', meant('image inspect')],
  ['bhatti describe', meant('image inspect')],
  ['bhatti rmi', meant('image delete')],
  ['bhatti rm', meant('image delete')],
  ['bhatti delete', meant('image delete')],
  ['bhatti prune', meant('image prune')],
  ['bhatti import', meant('image import')],
  ['bhatti load', meant('image import --tar')],
  ['bhatti save', meant('image export')],
  ['bhatti export', meant('image export')],
  ['bhatti build', meant('rootfs build')],
  ['bhatti ps', meant('task list')],
  ['bhatti logs', meant('task watch')],
  ['bhatti watch', meant('task watch')],
  ['bhatti wait', meant('task watch')],
  ['bhatti cancel', meant('task cancel')],
  ['bhatti start', meant('serve --detach')],
  ['bhatti stop', meant('serve stop')],
  ['bhatti status', meant('serve status')],
  ['bhatti info', meant('admin status')],
  ['bhatti config', meant('setup')],
  ['bhatti auth', meant('setup')],
  ['bhatti login', 'To a registry: image pull --auth user:token. To a server: setup.'],
  [
    'bhatti run',
    'It makes images and runs none: image pull, then boot the file that image inspect or image export names.',
  ],
  ['bhatti image show', meant('image inspect')],
  ['bhatti image save', meant('image export')],
  ['bhatti image load', meant('image import --tar')],
  ['bhatti image build', meant('rootfs build')],
  ['bhatti task logs', meant('task watch')],
  ['bhatti task wait', meant('task watch')],
  ['bhatti task ps', meant('task list')],
  ['bhatti task inspect', meant('task show')],
  ['bhatti task status', meant('task show')],
  ['bhatti task rm', meant('task cancel')],
  ['bhatti task stop', meant('task cancel')],
  ['bhatti task delete', meant('task cancel')],
  ['bhatti serve start', meant('serve --detach')],
  ['bhatti serve restart', 'First serve stop, then serve --detach.'],
  ['bhatti serve logs', 'Its log is in the file that serve status names.'],
  ['bhatti user add', meant('user create')],
  ['bhatti user remove', meant('user delete')],
  ['bhatti user token', meant('user rotate-key')],
]);

/** The same for flags. */
const familiarFlags: ReadonlyMap<string, string> = new Map([
  ['-o', '--json'],
  ['--output', '--json'],
  ['--format', '--json'],
  ['-v', '--version'],
  ['-V', '--version'],
  ['-H', '--url'],
  ['--host', '--url'],
  ['--server', '--url'],
]);

/** The hint for a word that is no command below `command`; undefined where commander's own suggestion does. */
export function hintFor(command: Command, word: string): string | undefined {
  return familiarWords.get(`${pathOf(command)} ${word}`);
}

/** Adds to an error of commander which flag does here what the unknown one does elsewhere. */
export function withFlagHint(error: string): string {
  const typed = /^error: unknown option '(--[^=']*|-.)/.exec(error)?.[1] ?? '';
  const flag = familiarFlags.get(typed);
  return flag === undefined ? error : `${error}(Did you mean ${flag}?)\n`;
}
