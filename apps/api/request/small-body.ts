import express, { type Request, type RequestHandler, type Response } from 'express';
import { ApiError } from './errors.ts';

/** The largest JSON or form body in bytes, before and after decompression: ten times the longest valid pull request. */
const limitBytes = 64 * 1024;

/** Ms that such a body may take to arrive. The server as a whole has no limit, which would apply to uploads, too. */
const bodyMilliseconds = 60_000;

/** Of any Content-Type: `curl -d` sends its own. Forms of other sites do not get here: they lack a token, or `guard` refuses them. */
export const readJson = limited(express.json({ limit: limitBytes, type: () => true }));

/** The forms of the pages, read before the visitor is known. */
export const readForm = limited(express.urlencoded({ extended: false, limit: limitBytes }));

/**
 * Reads the body of a request. Refuses one that is too large as soon as that is known, and before clients that ask first
 * send it; Express would read it to its end, however long that is, before it answers.
 */
function limited(parse: RequestHandler): RequestHandler {
  return (request, response, next) => {
    if (Number(request.headers['content-length'] ?? 0) > limitBytes) throw tooLarge();
    askForBody(request, response);
    let received = 0;
    const count = (chunk: Buffer) => {
      received += chunk.length;
      if (received > limitBytes) end(tooLarge());
    };
    const end = (error?: unknown) => {
      clearTimeout(late);
      request.off('data', count);
      // Only once: Express calls it again when the rest of a body that was too large has arrived.
      if (ended) return;
      ended = true;
      next(error);
    };
    let ended = false;
    const late = setTimeout(() => request.destroy(), bodyMilliseconds);
    parse(request, response, end);
    // After Express has begun to read: a listener starts the flow.
    request.on('data', count);
  };
}

/** Tells a client that waits for it (`Expect: 100-continue`) to send its body. */
export function askForBody(request: Request, response: Response): void {
  if (request.headers.expect !== undefined) response.writeContinue();
}

function tooLarge(): ApiError {
  return new ApiError(413, 'too_large', 'the body is too large for this route');
}
