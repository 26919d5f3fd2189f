// The app that prefork and PM2 run, without a line for either of them: it answers its pid.
// When it accepts connections it writes the pid to the file $BENCH_READY_FILE.
const fs = require('node:fs');
const http = require('node:http');

const server = http.createServer((request, response) => response.end(`${process.pid}`));

server.listen({ host: '127.0.0.1', port: Number(process.env.PORT) }, () => {
  fs.appendFileSync(process.env.BENCH_READY_FILE, `${process.pid}\n`);
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}
