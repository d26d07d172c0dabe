import * as z from 'zod';

/** An error that Redis answered with. That of a transaction says no more than that some of its commands failed. */
const errorReply = z.object({
  name: z.literal('ReplyError'),
  message: z.string(),
  previousErrors: z.array(z.object({ message: z.string() })).optional(),
});

/** What Redis answered, for a transaction to the first of its commands that failed; undefined where the error is not of Redis. */
export function errorReplyOf(error: unknown): string | undefined {
  const { data } = errorReply.safeParse(error);
  return data?.previousErrors?.[0]?.message ?? data?.message;
}

/** A Redis that is starting, failing over, or full. */
const passing = [
  'LOADING',
  'READONLY',
  'OOM',
  'MISCONF',
  'BUSY',
  'NOREPLICAS',
  'CLUSTERDOWN',
  'TRYAGAIN',
  'MASTERDOWN',
];
/** One that is closed to us until somebody changes its users. */
const lasting = ['NOAUTH', 'WRONGPASS', 'NOPERM'];

/** As the answer begins, or, before Redis 7, after the place in the script that was refused. */
const refusal = new RegExp(`(?:^-?|: -)(${[...passing, ...lasting].join('|')})\\b`);
/** NOPERM, as Redis before 7.2 says it of a command in a script. */
const notPermittedInScript = /^-?ERR .*\bThe user executing the script can't run this command/;

export interface RedisRefusal {
  /** That its answer begins with, such as `OOM`. */
  readonly word: string;
  /** Whether it may accept the same command later, without anybody having changed its settings. */
  readonly passes: boolean;
}

/** What a Redis that is there, but cannot work now, says of that; undefined where the reply is another. */
export function refusalIn(reply: string): RedisRefusal | undefined {
  const word = notPermittedInScript.test(reply) ? 'NOPERM' : refusal.exec(reply)?.[1];
  return word === undefined ? undefined : { word, passes: passing.includes(word) };
}

/** See `refusalIn`; undefined where what was thrown is no reply of Redis. */
export function refusalOf(error: unknown): RedisRefusal | undefined {
  const reply = errorReplyOf(error);
  return reply === undefined ? undefined : refusalIn(reply);
}
