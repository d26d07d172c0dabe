import { refusalOf } from '@bhatti/tasks';
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

/** Whether an error means that Redis is unavailable, as opposed to a bug here. */
export function isRedisFailure(error: unknown): boolean {
  const parsed = thrown.safeParse(error);
  if (!parsed.success) return false;
  const { name, message, code } = parsed.data;
  if (name === 'ReplyError') return refusalOf(error) !== undefined;
  return (
    connectionErrorNames.has(name) ||
    connectionErrorMessages.has(message) ||
    /^(ECONN|ENOENT|EPIPE|ETIMEDOUT|EHOST|ENETUNREACH|EAI_AGAIN|ENOTFOUND)/.test(code ?? '')
  );
}
