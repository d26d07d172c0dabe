import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import * as z from 'zod';

/** Somewhere that a secret may have got to; `text` has one character a byte. */
export interface Place {
  readonly name: string;
  readonly text: string;
}

/** The names of the places that hold one of the secrets: as it is, percent-encoded, in hex, or inside any base64 text. */
export function placesWith(secrets: readonly string[], places: readonly Place[]): string[] {
  const forms = [...new Set(secrets.flatMap(formsOf))];
  return places.filter(({ text }) => forms.some((form) => text.includes(form))).map(({ name }) => name);
}

/** Base64 of a text that holds the secret depends on where in it the secret begins, modulo 3. */
function formsOf(secret: string): string[] {
  const inBase64 = [0, 1, 2].flatMap((before) => {
    const bytes = Buffer.from(`${'x'.repeat(before)}${secret}`);
    // The first and the last digits depend on the neighbours, too.
    const from = Math.ceil((before * 8) / 6);
    const to = Math.floor((bytes.length * 8) / 6);
    return [bytes.toString('base64').slice(from, to), bytes.toString('base64url').slice(from, to)];
  });
  return [secret, encodeURIComponent(secret), Buffer.from(secret).toString('hex'), ...inBase64];
}

/** Every key of every type, with its name. */
export async function redisPlaces(redis: Redis): Promise<Place[]> {
  const read: Readonly<Record<string, (key: string) => Promise<unknown>>> = {
    string: (key) => redis.get(key),
    hash: (key) => redis.hgetall(key),
    list: (key) => redis.lrange(key, 0, -1),
    set: (key) => redis.smembers(key),
    zset: (key) => redis.zrange(key, 0, '-1'),
    stream: (key) => redis.xrange(key, '-', '+'),
  };
  return Promise.all(
    (await redis.keys('*')).map(async (key) => {
      const type = await redis.type(key);
      const value = read[type];
      // Gone since it was listed.
      if (type === 'none') return { name: `redis ${key}`, text: key };
      if (value === undefined) throw new Error(`keys of the type ${type} are not looked into`);
      return { name: `redis ${key}`, text: `${key} ${JSON.stringify(await value(key))}` };
    }),
  );
}

/** Every file below the directory, with its name; sockets by their names only. */
export async function filePlaces(directory: string): Promise<Place[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return Promise.all(
    entries.map(async (entry) => {
      const path = join(entry.parentPath, entry.name);
      const name = path.slice(directory.length + 1);
      const content = entry.isFile() ? await unlessGone(readFile(path, 'latin1')) : '';
      return { name: `file ${name}`, text: `${name} ${content ?? ''}` };
    }),
  );
}

/** What `ps` shows of a process to everybody (its arguments), and to its own user (its environment). */
export async function processPlaces(name: string, pid: number): Promise<Place[]> {
  return Promise.all(
    ['cmdline', 'environ'].map(async (file) => ({
      name: `${file} of ${name}`,
      text: await readFile(`/proc/${pid}/${file}`, 'latin1'),
    })),
  );
}

/** What is read of a file, undefined when it was removed since it was listed. */
export async function unlessGone<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (z.object({ code: z.literal('ENOENT') }).safeParse(error).success) return undefined;
    throw error;
  }
}
