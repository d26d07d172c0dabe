import { documentationPage } from '../documentation/documentation-page.ts';
import { openApiDocument } from '../documentation/openapi.ts';
import { defineRoute, noBody, noQuery, type Route } from '../request/route.ts';

/** What the API says of itself. Open: it tells nothing that the source does not. */
export function documentationRoutes(others: readonly Route[]): Route[] {
  const document = defineRoute({
    method: 'GET',
    path: '/openapi.json',
    summary: 'This API as an OpenAPI 3.1 document. Needs no token.',
    open: true,
    query: noQuery,
    body: noBody,
    answers: { 200: { description: 'The document.', contentType: 'application/json' } },
    handle: async () => ({ status: 200, body: described }),
  });
  const page = defineRoute({
    method: 'GET',
    path: '/docs',
    summary: 'This API, to be read in a browser. Needs no token.',
    open: true,
    query: noQuery,
    body: noBody,
    answers: { 200: { description: 'A page.', contentType: 'text/html' } },
    handle: async () => ({
      status: 200,
      contentType: 'text/html; charset=utf-8',
      headers: {
        'Content-Security-Policy':
          "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'",
      },
      body: readable,
    }),
  });
  const routes = [...others, document, page];
  const described = openApiDocument(routes);
  const readable = documentationPage(routes);
  return [document, page];
}
