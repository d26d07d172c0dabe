import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Fault } from './fault.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export function json(status: number, value: unknown): Answer {
  return { status, headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(value)) };
}

/** Distribution spec, "Error Codes". */
export function refusal(status: number, code: string, message: string): Answer {
  return json(status, { errors: [{ code, message, detail: null }] });
}

/** @param target `{path}` in it stands for the path that was asked for */
export function redirection(target: string, path: string): Answer {
  return { status: 307, headers: { location: target.replace('{path}', path) }, body: Buffer.alloc(0) };
}

const PIECE = 256 * 1024;

/** Sends an answer, wrong as the fault says. `onSent` is told of each piece of the body. */
export async function send(
  response: ServerResponse,
  answer: Answer,
  fault: Fault,
  signal: AbortSignal,
  onSent: (bytes: number) => void,
): Promise<void> {
  const content = fault.body === undefined ? answer.body : Buffer.from(fault.body);
  const body = fault.append === undefined ? content : Buffer.concat([content, fault.append]);
  const isChunked = fault.append !== undefined || fault.endAfter !== undefined;
  const headers: Record<string, string | readonly string[] | undefined> = {
    ...answer.headers,
    ...(!isChunked && { 'content-length': String(body.length) }),
    ...fault.headers,
  };
  for (const [name, value] of Object.entries(headers)) if (value !== undefined) response.setHeader(name, value);
  response.writeHead(answer.status);
  response.flushHeaders();

  const limit = Math.min(
    body.length,
    fault.cutAfter ?? fault.resetAfter ?? fault.stallAfter ?? fault.endAfter ?? body.length,
  );
  const piece = fault.bytesPerSecond === undefined ? PIECE : Math.max(1, Math.ceil(fault.bytesPerSecond / 50));
  for (let offset = 0; offset < limit && !response.destroyed; offset += piece) {
    response.write(body.subarray(offset, Math.min(limit, offset + piece)));
    onSent(Math.min(limit, offset + piece) - offset);
    if (fault.bytesPerSecond !== undefined) await sleep(20, undefined, { signal });
    if (response.writableNeedDrain && !response.destroyed) await drained(response);
  }
  if (fault.stallAfter !== undefined) return;
  if (fault.resetAfter !== undefined) response.socket?.resetAndDestroy();
  // Everything written goes out before the end, though the answer has promised more.
  else if (fault.cutAfter !== undefined) response.write('', () => response.socket?.destroySoon());
  else response.end();
}

/** Resolves when more can be written, or the client has gone. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
}
