import * as z from 'zod';
import { namedSchemas, nameOfSchema, Problem } from '../api-schema.ts';
import { type Answer, noBody, type Route, streamBody } from '../request/route.ts';
import { version } from '../version.ts';

type JsonObject = Readonly<Record<string, unknown>>;

const objectSchema = z.object({
  properties: z.record(z.string(), z.looseObject({ description: z.string().optional() })).default({}),
  required: z.array(z.string()).default([]),
});

/** The OpenAPI 3.1 document of the routes, made from the very schemas that validate. */
export function openApiDocument(routes: readonly Route[]): JsonObject {
  const paths: Record<string, Record<string, JsonObject>> = {};
  for (const route of routes) {
    const path = route.path.replace(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'bhatti images',
      version,
      summary: 'Pulls OCI images into bootable ext4 root filesystems, as durable tasks.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', description: 'bht_…; the unix socket needs none' },
      },
      schemas: componentSchemas(),
    },
  };
}

function operation(route: Route): JsonObject {
  const words = route.path.split('/').filter((part) => part !== '');
  return {
    operationId: [route.method.toLowerCase(), ...words.map((word) => word.replace(':', 'by-'))].join('-'),
    tags: [words[0] ?? 'page'],
    summary: route.summary,
    ...(route.open ? { security: [] } : {}),
    parameters: [...pathParameters(route.path), ...queryParameters(route.query)],
    ...(route.body === noBody ? {} : { requestBody: requestBody(route.body) }),
    responses: {
      ...Object.fromEntries(Object.entries(route.answers).map(([status, answer]) => [status, response(answer)])),
      default: { description: 'What went wrong.', content: json(Problem) },
    },
  };
}

function requestBody(body: z.ZodType): JsonObject {
  if (body === streamBody) return { required: true, content: { 'application/octet-stream': {} } };
  return { required: !body.safeParse(undefined).success, content: json(body) };
}

function pathParameters(path: string): JsonObject[] {
  return [...path.matchAll(/:(\w+)/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
}

function queryParameters(query: z.ZodType): JsonObject[] {
  const { properties, required } = objectSchema.parse(z.toJSONSchema(query, { io: 'input' }));
  return Object.entries(properties).map(([name, { description, ...schema }]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema,
  }));
}

function response({ description, schema, contentType }: Answer): JsonObject {
  if (schema !== undefined) return { description, content: json(schema) };
  return contentType === undefined ? { description } : { description, content: { [contentType]: {} } };
}

function json(schema: z.ZodType): JsonObject {
  return { 'application/json': { schema: { $ref: referenceTo(nameOfSchema(schema)) } } };
}

function referenceTo(name: string): string {
  return `#/components/schemas/${name}`;
}

function componentSchemas(): JsonObject {
  const registry = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries(namedSchemas)) registry.add(schema, { id });
  const { schemas } = z.toJSONSchema(registry, { uri: referenceTo });
  return Object.fromEntries(Object.entries(schemas).map(([name, { $id, $schema, ...schema }]) => [name, schema]));
}
