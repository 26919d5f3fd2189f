// Fastify, as its documentation has it. /slow takes 300 ms.
const fastify = require('fastify')();

fastify.get('/', async () => `${process.pid}`);
fastify.get('/slow', async () => {
  await new Promise((resolve) => setTimeout(resolve, 300));
  return `${process.pid}`;
});
fastify.listen({ port: Number(process.env.PORT) });
