import { format } from 'node:util';

/**
 * What ioredis says, at each attempt, of a server in protected mode: in the paragraph that such a one sends there are the words "no
 * password is set". `refusalOf` tells what it is. Of a password that was given in vain no server since Redis 6.0 speaks so.
 */
const mistaken = '[WARN] Redis server does not require a password, but a password was supplied.';

/** Has this process told what ioredis writes to the console, line by line, in place of that; without what is mistaken. */
export function redirectClientWarnings(tell: (line: string) => void): void {
  console.warn = (...words: unknown[]) => {
    const line = format(...words);
    if (line !== mistaken) tell(line);
  };
}
