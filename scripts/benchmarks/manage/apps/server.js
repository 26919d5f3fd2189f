// The same app under prefork and PM2: answers its pid, and tells the bench when it accepts.
const fs = require('node:fs');
const http = require('node:http');

const server = http.createServer((request, response) => response.end(`${process.pid}`));
const shared = process.env.NOTIFY_FD !== undefined;
const place = shared ? { fd: 3 } : { host: '127.0.0.1', port: Number(process.env.PORT) };

server.listen(place, () => {
  fs.appendFileSync(process.env.BENCH_MARKS, `${process.pid}\n`);
  if (shared) fs.writeSync(Number(process.env.NOTIFY_FD), 'READY=1');
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}
