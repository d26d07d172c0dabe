import { randomBytes } from 'node:crypto';

const alphabet = 'abcdefghijklmnopqrstuvwxyz234567';
const pattern = /^tsk_[a-z2-7]{12}$/;

/** A new task id: `tsk_` and 60 random bits in lower-case base32 (RFC 4648). It is also the id of the BullMQ job. */
export function createTaskId(): string {
  // 256 is a multiple of 32, so that the low five bits of a random byte are uniform.
  return `tsk_${Array.from(randomBytes(12), (byte) => alphabet.charAt(byte & 31)).join('')}`;
}

/** Whether a text has the form of a task id. Others must never reach Redis, where ids become part of keys. */
export function isTaskId(text: string): boolean {
  return pattern.test(text);
}
