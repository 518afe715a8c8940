# Built with everything, run with what is needed: no compiler, no tests, no embedded Postgres.
FROM node:22-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=optional --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build && npm prune --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM node:22-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY package.json LICENSE ./
COPY sql ./sql
COPY config ./config
USER node
# It listens on 127.0.0.1:6432, which nobody outside of the container reaches: good beside the application, in the same
# pod or network namespace. For others set PG_DURABLE_LISTEN=0.0.0.0:6432; as passwords are not asked for in clear text
# over a network, with a certificate (PG_DURABLE_CLIENT_TLS_CERT_FILE, PG_DURABLE_CLIENT_TLS_KEY_FILE) or
# PG_DURABLE_CLIENT_AUTH=scram.
EXPOSE 6432
# A start-up packet's SSLRequest is answered by one byte before anything else happens: the cheapest sign of life. It goes
# to the first place of PG_DURABLE_LISTEN; where `listen` is in a file instead, replace it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["node", "-e", "const place=(process.env.PG_DURABLE_LISTEN||'127.0.0.1:6432').split(',')[0].trim();const [,where,port='6432']=/^(.*?)(?::(\\d+))?$/.exec(place);const to=where.startsWith('/')?{path:where+'/.s.PGSQL.'+port}:{host:where.replace(/[[\\]]/g,''),port};const s=require('net').connect(to,()=>s.write(Buffer.from([0,0,0,8,4,210,22,47])));s.on('data',()=>process.exit(0));s.on('error',()=>process.exit(1));s.on('close',()=>process.exit(1))"]
ENTRYPOINT ["node", "dist/main.js"]
CMD ["serve"]
