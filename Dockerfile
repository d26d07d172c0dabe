# syntax=docker/dockerfile:1

FROM node:20-bookworm-slim AS build
WORKDIR /app
COPY . .
RUN --mount=type=cache,target=/root/.npm npm ci --no-audit --no-fund
# The programs are bundled into dist/; the third-party packages that cannot be are needed beside it.
RUN npm run build && npm prune --omit=dev --no-audit --no-fund && rm -rf node_modules/@bhatti

FROM node:20-bookworm-slim
RUN apt-get update \
  && apt-get install --yes --no-install-recommends e2fsprogs zstd \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
# A new volume takes its owner from the folder that it covers.
RUN printf '#!/bin/sh\nexec node /app/dist/cli.js "$@"\n' >/usr/local/bin/bhatti \
  && chmod 755 /usr/local/bin/bhatti \
  && install --directory --owner=node --group=node --mode=0700 /var/lib/bhatti
ENV NODE_ENV=production BHATTI_DATA_DIR=/var/lib/bhatti
USER node
VOLUME /var/lib/bhatti
EXPOSE 8080
CMD ["node", "dist/api.js"]
