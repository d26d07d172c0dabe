import { stat } from 'node:fs/promises';
import { openStore, type Store, StoreError, storePaths, type UserWithToken } from '@bhatti/store';
import { CliError, systemErrorCode } from './cli-error.ts';
import { type Console, printJson } from './terminal/console.ts';
import { formatAge, formatTable } from './terminal/table.ts';

/** `bhatti user create`. */
export async function createUser(
  directory: string,
  name: string,
  console: Console,
  { admin, json }: { admin: boolean; json: boolean },
): Promise<number> {
  return explained(directory, async ({ users, images }) => {
    const created = await users.create(name, admin ? 'admin' : 'user');
    printToken(created, console, json);
    const left = await images.list(name);
    if (left.length > 0) console.err(`${name} has images from before (${left.length}); see "bhatti image list"\n`);
    return 0;
  });
}

/** `bhatti user list`. */
export async function listUsers(directory: string, console: Console, json: boolean): Promise<number> {
  await requireDataDirectory(directory);
  return explained(directory, async ({ users }) => {
    const list = await users.list();
    if (json) {
      printJson(console, { users: list.map(({ name, role, createdAt }) => ({ name, role, created_at: createdAt })) });
    } else {
      const rows = list.map(({ name, role, createdAt }) => [name, role, formatAge(Date.parse(createdAt), Date.now())]);
      console.out(formatTable(['NAME', 'ROLE', 'CREATED'], rows));
    }
    return 0;
  });
}

/** `bhatti user rotate-key`. */
export async function rotateKey(directory: string, name: string, console: Console, json: boolean): Promise<number> {
  await requireDataDirectory(directory);
  return explained(directory, async ({ users }) => {
    printToken(await users.rotateToken(name), console, json);
    return 0;
  });
}

/** `bhatti user delete`: the images stay, so that a mistake loses nothing, and keep their owner. */
export async function deleteUser(directory: string, name: string, console: Console, json: boolean): Promise<number> {
  await requireDataDirectory(directory);
  return explained(directory, async ({ users, images }) => {
    await users.delete(name);
    const left = (await images.list(name)).length;
    if (json) printJson(console, { name, deleted: true, images_left: left });
    else console.out(`deleted ${name}\n`);
    if (left > 0)
      console.err(
        `${left === 1 ? 'an image' : `${left} images`} of ${name} left behind; admins see what is left, and a new user of that name gets it\n`,
      );
    return 0;
  });
}

/** The token alone goes to stdout, so that a script can take it. */
function printToken({ user, token }: UserWithToken, console: Console, json: boolean): void {
  if (json) {
    printJson(console, { name: user.name, role: user.role, token });
    return;
  }
  console.err(`token of ${user.name} (${user.role}), shown this once:\n`);
  console.out(`${token}\n`);
}

/** Opening a store creates it, which only `createUser` should do. Rejects with CliError `data_dir_unusable` if there is none. */
async function requireDataDirectory(directory: string): Promise<void> {
  const code = await stat(storePaths(directory).runDirectory).then(() => undefined, systemErrorCode);
  if (code !== 'ENOENT' && code !== 'ENOTDIR') return;
  throw new CliError('data_dir_unusable', `${directory} is not a data directory of bhatti`, {
    hint: 'Name that of the server with --data-dir; "bhatti serve status" on it shows which it is.',
  });
}

async function explained(directory: string, action: (store: Store) => Promise<number>): Promise<number> {
  try {
    return await action(await openStore(directory));
  } catch (error) {
    if (error instanceof StoreError) throw new CliError(error.code, error.message, { cause: error });
    throw error;
  }
}
