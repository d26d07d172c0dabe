import { format } from 'node:util';

/**
 * A warning that ioredis prints by mistake at each attempt to connect to a server in protected mode, whose explanation contains the words
 * "no password is set". `refusalOf` reports the real reason. No server since Redis 6.0 says this of an unneeded password.
 */
const mistaken = '[WARN] Redis server does not require a password, but a password was supplied.';

/** Passes what ioredis writes to the console to `tell` instead, line by line, except for the mistaken warning. */
export function redirectClientWarnings(tell: (line: string) => void): void {
  console.warn = (...words: unknown[]) => {
    const line = format(...words);
    if (line !== mistaken) tell(line);
  };
}
