import * as z from 'zod';
import { nameOfSchema } from '../api-schema.ts';
import { type Html, html } from '../page/html.ts';
import { noBody, type Route, streamBody } from '../request/route.ts';
import { version } from '../version.ts';

/** The API as a page that reads without scripts: every route, what it takes and what it answers. */
export function documentationPage(routes: readonly Route[]): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>API · bhatti images</title>
<link rel="stylesheet" href="/ui/assets/style.css">
</head>
<body>
<main class="wide">
<h1>API of bhatti images ${version}</h1>
<p>For programs: <a href="/openapi.json">/openapi.json</a>. Every route wants <code>Authorization: Bearer bht_…</code> unless it says otherwise; the unix socket needs no token. What goes wrong is answered with <code>{error, code, request_id}</code>.</p>
<ul>${routes.map((route) => html`<li><a href="#${anchor(route)}"><code>${route.method} ${route.path}</code></a></li>`)}</ul>
${routes.map(routeSection)}
</main>
</body>
</html>
`.text;
}

function anchor({ method, path }: Route): string {
  return `${method}${path}`.replace(/[^A-Za-z0-9]+/g, '-').toLowerCase();
}

function routeSection(route: Route): Html {
  return html`<section id="${anchor(route)}" class="card">
<h2><code>${route.method} ${route.path}</code></h2>
<p>${route.summary}</p>
${schemaBlock('Query', route.query)}
${bodyBlock(route.body)}
<ul>${Object.entries(route.answers).map(
    ([status, { description, schema }]) =>
      html`<li><b>${status}</b> ${description} ${schema !== undefined && schemaBlock(nameOfSchema(schema), schema)}</li>`,
  )}</ul>
</section>`;
}

function bodyBlock(body: z.ZodType): Html | null {
  if (body === noBody) return null;
  return body === streamBody ? html`<p>Body: a stream of bytes.</p>` : schemaBlock('Body', body);
}

function schemaBlock(title: string, schema: z.ZodType): Html | null {
  if (schema instanceof z.ZodObject && Object.keys(schema.shape).length === 0) return null;
  const { $schema, ...shown } = z.toJSONSchema(schema, { io: 'input' });
  return html`<details><summary>${title}</summary><pre>${JSON.stringify(shown, null, 2)}</pre></details>`;
}
