import express, { type Request, type RequestHandler, type Response } from 'express';
import { ApiError } from './errors.ts';

/** The largest body of a JSON route, or of a form, in bytes, also when it is decompressed. The longest valid pull request is a tenth of it. */
const limitBytes = 64 * 1024;

/** Ms that such a body may take. The server itself sets no limit: that would be one for uploads, too. */
const bodyMilliseconds = 60_000;

/** Of any Content-Type: `curl -d` sends its own. No form of another site gets here: a token is needed, or `guard` refuses it. */
export const readJson = limited(express.json({ limit: limitBytes, type: () => true }));

/** What a page sends; who logs in is not known yet. */
export const readForm = limited(express.urlencoded({ extended: false, limit: limitBytes }));

/**
 * Reads the body of a request. One that is too large is refused as soon as that is known, and before it is sent by
 * clients that ask first: Express would read it to its end, however long that is, and answer then.
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
      // Once: Express ends, too, when the rest of a body that was too large has come.
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

/** A client that waits to be told so (`Expect: 100-continue`) sends its body now. */
export function askForBody(request: Request, response: Response): void {
  if (request.headers.expect !== undefined) response.writeContinue();
}

function tooLarge(): ApiError {
  return new ApiError(413, 'too_large', 'the body is too large for this route');
}
