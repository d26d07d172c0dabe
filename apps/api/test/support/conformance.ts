import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { type Dispatcher, request } from 'undici';
import * as z from 'zod';
import type { Answer } from './api.ts';

/** Throws unless the answer conforms to the OpenAPI document. */
export type Conforms = (method: string, path: string, answer: Answer) => void;

const content = z.record(z.string(), z.object({ schema: z.object({ $ref: z.string() }).optional() })).optional();
const openApi = z.object({
  paths: z.record(
    z.string(),
    z.record(z.string(), z.object({ responses: z.record(z.string(), z.object({ content })) })),
  ),
});

/** Reads the document that the API serves. */
export async function documented(origin: string, dispatcher: Dispatcher): Promise<Conforms> {
  const { body } = await request(`${origin}/openapi.json`, { dispatcher });
  const document = await body.json();
  const { paths } = openApi.parse(document);
  // That the document is valid, routes.test.ts shows: to compile the schema of schemas took each file of tests 0.4 s.
  const ajv = new Ajv2020({ strict: false, validateSchema: false, meta: false });
  formats.default(ajv);
  ajv.addSchema({ $id: 'api', ...z.looseObject({}).parse(document) });
  const routes = Object.entries(paths).map(([path, methods]) => ({
    pattern: new RegExp(`^${path.replace(/[.]/g, '\\.').replace(/\{\w+\}/g, '[^/]+')}$`),
    methods,
  }));
  return (method, path, answer) => {
    const matching = routes.filter(({ pattern }) => pattern.test(path.split('?', 1)[0] ?? ''));
    const responses = matching.map(({ methods }) => methods[method.toLowerCase()]?.responses).find(Boolean);
    const stated = responses?.[String(answer.status)];
    const isProblem = stated === undefined && answer.status >= 400;
    if (responses !== undefined && !isProblem && stated === undefined) {
      throw new Error(`${method} ${path} answers ${answer.status}, which its documentation does not name`);
    }
    const reference = isProblem ? '#/components/schemas/Problem' : stated?.content?.['application/json']?.schema?.$ref;
    // The queue board has its own form of errors, which its page understands.
    if (answer.body === undefined || reference === undefined || path.startsWith('/admin/queues')) return;
    if (!ajv.validate(`api${reference}`, answer.body)) {
      throw new Error(`${method} ${path} answers against its schema: ${ajv.errorsText()}: ${answer.text}`);
    }
  };
}
