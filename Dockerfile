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
# Inside a container, loopback reaches nobody. This version asks for passwords on loopback and Unix sockets only:
# run it beside the application (the same pod or network namespace), where 127.0.0.1 is shared.
ENV PG_DURABLE_LISTEN=127.0.0.1:6432
EXPOSE 6432
# A start-up packet's SSLRequest is answered by one byte before anything else happens: the cheapest sign of life.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["node", "-e", "const [h,p]=process.env.PG_DURABLE_LISTEN.split(/:(?=\\d+$)/);const s=require('net').connect(p,h,()=>s.write(Buffer.from([0,0,0,8,4,210,22,47])));s.on('data',()=>process.exit(0));s.on('error',()=>process.exit(1));s.on('close',()=>process.exit(1))"]
ENTRYPOINT ["node", "dist/main.js"]
CMD ["serve"]
