import { timingSafeEqual } from 'node:crypto';
import * as z from 'zod';
import { createApiToken, hashApiToken, isApiToken } from './api-token.ts';
import { CachedFile } from './cached-file.ts';
import { writeDurably } from './durable-file.ts';
import { StoreError, storing } from './error.ts';
import { withFileLock } from './file-lock.ts';
import { fileName } from './names.ts';
import { readText } from './text-file.ts';

/** The admin of every data directory: whoever uses the unix socket, or the token in the file `token`. */
export const LOCAL_USER = 'local';

const userRole = z.enum(['admin', 'user']);

const userSchema = z.object({
  name: z.string(),
  role: userRole,
  /** SHA-256 of the token, hex. */
  tokenHash: z.string().regex(/^[0-9a-f]{64}$/),
  createdAt: z.iso.datetime(),
});
type StoredUser = z.output<typeof userSchema>;
const listSchema = z.object({ version: z.literal(1), users: z.array(userSchema) });

/** Somebody who may use the API. The name is the owner of the user's tasks and images. */
export interface User {
  readonly name: string;
  readonly role: z.output<typeof userRole>;
  readonly createdAt: string;
}

/** A user and the token, which is shown only this once: only its hash is stored. */
export interface UserWithToken {
  readonly user: User;
  readonly token: string;
}

export interface UserListPaths {
  readonly usersFile: string;
  readonly tokenFile: string;
}

/**
 * The users of a data directory: `users.json` (mode 0600), written atomically and under a lock, by any process of any host.
 * Each use checks whether the file has changed, so that a deleted user is refused at once (over NFS, when its attribute cache
 * expires: seconds). A file that cannot be read lets nobody in.
 */
export class UserList {
  readonly #paths: UserListPaths;
  #users: CachedFile<readonly StoredUser[]>;
  #localToken: CachedFile<Buffer | undefined>;

  constructor(paths: UserListPaths) {
    this.#paths = paths;
    this.#users = new CachedFile(paths.usersFile, 'the users', (text) =>
      text === undefined ? [] : parseUsers(text, paths.usersFile),
    );
    this.#localToken = new CachedFile(paths.tokenFile, 'the token', (text) => {
      const token = text?.trim();
      return token !== undefined && isApiToken(token) ? hashApiToken(token) : undefined;
    });
  }

  /** The users in `users.json`, sorted by name. */
  async list(): Promise<User[]> {
    return (await this.#users.read()).map(withoutHash).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** The user with this token; null when there is none. Compares hashes in constant time, with every user's. */
  async authenticate(token: string): Promise<Pick<User, 'name' | 'role'> | null> {
    const hash = hashApiToken(token);
    const local = await this.#localToken.read();
    if (local !== undefined && timingSafeEqual(hash, local)) return { name: LOCAL_USER, role: 'admin' };
    let found: StoredUser | undefined;
    for (const user of await this.#users.read()) {
      if (timingSafeEqual(hash, Buffer.from(user.tokenHash, 'hex'))) found = user;
    }
    return found === undefined ? null : withoutHash(found);
  }

  /** Creates a user. Rejects with StoreError `invalid_name`, or `invalid_request` when there is such a user. */
  async create(name: string, role: User['role']): Promise<UserWithToken> {
    fileName('owner', name);
    return this.#change((users) => {
      if (name === LOCAL_USER || users.some((user) => user.name === name)) {
        throw new StoreError(
          'invalid_request',
          `there is a user ${name} already; "bhatti user rotate-key ${name}" gives a new token`,
        );
      }
      const token = createApiToken();
      const user: StoredUser = {
        name,
        role,
        tokenHash: hashApiToken(token).toString('hex'),
        createdAt: new Date().toISOString(),
      };
      return { users: [...users, user], result: { user: withoutHash(user), token } };
    });
  }

  /** Replaces a user's token; the old one is refused from now on. Rejects with StoreError `not_found`. */
  async rotateToken(name: string): Promise<UserWithToken> {
    const token = createApiToken();
    if (name === LOCAL_USER) {
      await storing('write the token', () => writeDurably(this.#paths.tokenFile, `${token}\n`));
      return { user: { name, role: 'admin', createdAt: new Date().toISOString() }, token };
    }
    return this.#change((users) => {
      const old = find(users, name);
      const user = { ...old, tokenHash: hashApiToken(token).toString('hex') };
      return {
        users: users.map((other) => (other === old ? user : other)),
        result: { user: withoutHash(user), token },
      };
    });
  }

  /** Deletes a user, whose images and tasks stay. Rejects with StoreError `not_found`, or `invalid_request` for `LOCAL_USER`. */
  delete(name: string): Promise<void> {
    return this.#change((users) => {
      if (name === LOCAL_USER) {
        throw new StoreError('invalid_request', `${LOCAL_USER} is the admin of this machine and cannot be deleted`);
      }
      const old = find(users, name);
      return { users: users.filter((user) => user !== old), result: undefined };
    });
  }

  async #change<T>(change: (users: readonly StoredUser[]) => { users: readonly StoredUser[]; result: T }): Promise<T> {
    const path = this.#paths.usersFile;
    return storing('change the users', () =>
      withFileLock(`${path}.lock`, async (requireHeld) => {
        const text = await readText(path);
        const { users, result } = change(text === undefined ? [] : parseUsers(text, path));
        await writeDurably(path, `${JSON.stringify({ version: 1, users }, null, 2)}\n`, { confirm: requireHeld });
        return result;
      }),
    );
  }
}

function find(users: readonly StoredUser[], name: string): StoredUser {
  const user = users.find((other) => other.name === name);
  if (user !== undefined) return user;
  throw new StoreError(
    'not_found',
    `there is no user ${JSON.stringify(name.slice(0, 64))}; "bhatti user list" shows them`,
  );
}

function withoutHash({ name, role, createdAt }: StoredUser): User {
  return { name, role, createdAt };
}

function parseUsers(text: string, path: string): StoredUser[] {
  try {
    return listSchema.parse(JSON.parse(text)).users;
  } catch {
    // Without its cause, which may quote the file.
    throw new StoreError(
      'internal',
      `${path} is not a list of users; restore it, or remove it and create the users again`,
    );
  }
}
