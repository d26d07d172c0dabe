import * as z from 'zod';

const thrown = z.object({ name: z.string(), message: z.string(), code: z.string().optional() });

/** Errors of ioredis and BullMQ for a lost connection, or a server that does not answer. */
const connectionErrorNames = new Set([
  'MaxRetriesPerRequestError',
  'AbortError',
  'ClusterAllFailedError',
  'TimeoutError',
]);
const connectionErrorMessages = new Set([
  'Connection is closed.',
  'Command timed out',
  "Stream isn't writeable and enableOfflineQueue options is false",
]);

/** Error codes of a Redis that answers but cannot be used: starting, failing over, full, closed to us. */
const unavailableReplies =
  /^-?(LOADING|READONLY|OOM|MISCONF|BUSY|NOREPLICAS|CLUSTERDOWN|TRYAGAIN|MASTERDOWN|NOAUTH|WRONGPASS|NOPERM)\b/;
/** NOPERM, as Redis before 7.2 says it of a command in a script. */
const notPermittedInScript = /^-?ERR .*\bThe user executing the script can't run this command/;

/** The word with which a Redis that is there says that it cannot work now; undefined where the reply is another. */
export function refusalIn(reply: string): string | undefined {
  return notPermittedInScript.test(reply) ? 'NOPERM' : unavailableReplies.exec(reply)?.[1];
}

/** See `refusalIn`; undefined where what was thrown is no reply of Redis. */
export function redisRefusal(error: unknown): string | undefined {
  const { data } = thrown.safeParse(error);
  return data?.name === 'ReplyError' ? refusalIn(data.message) : undefined;
}

/** Whether an error means that Redis is unavailable, as opposed to a bug here. */
export function isRedisFailure(error: unknown): boolean {
  const parsed = thrown.safeParse(error);
  if (!parsed.success) return false;
  const { name, message, code } = parsed.data;
  if (name === 'ReplyError') return refusalIn(message) !== undefined;
  return (
    connectionErrorNames.has(name) ||
    connectionErrorMessages.has(message) ||
    /^(ECONN|ENOENT|EPIPE|ETIMEDOUT|EHOST|ENETUNREACH|EAI_AGAIN|ENOTFOUND)/.test(code ?? '')
  );
}
